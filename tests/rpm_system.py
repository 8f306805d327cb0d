"""A login node whose packages are RPM packages: built here of this machine's own files, since no RPM distribution's registry
can be reached from where sdee is developed.

The programs of Debian packages (bash, coreutils, python3, rpm, dnf …) are packed anew as RPM packages by rpmbuild(8), as one
would find them on Fedora: everything in /usr, /usr/bin with mode 0555, the database in /usr/lib/sysimage/rpm with a link
to it from /var/lib/rpm, no dpkg. rpm(8) installs them into an empty root. createrepo_c(8) makes the repository from which
dnf(8) installs there.
"""

# ruff: noqa: E501 - shell scripts and spec files read better whole

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from env_support import SDEE, UID, becomes
from foreign.roots import CACHE, cached

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = "uidmap bash coreutils sed grep findutils diffutils tar gzip util-linux passwd login mount libc-bin rpm dnf python3 libcap2-bin mawk hostname"
NOT = re.compile(
    r"base-files|dpkg|apt|debconf.*|perl.*|init-system-helpers|adduser|debianutils-.*|tzdata|media-types|sensible-utils"
)
UNWANTED = (
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/locale",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/bug",
)
CHECKOUT = Path(__file__).resolve().parent.parent
TOP = ("usr", "etc", "var", "opt", "srv", "proc", "sys", "dev", "run", "tmp", "home", "root", "mnt")

HEAD = """Name: system
Version: 1
Release: 1
Summary: a system of the tests
License: various
AutoReqProv: no
%define _binary_payload w1.zstdio
%description
%install
mkdir -p %{buildroot}
tar -C / -c --no-recursion -T {lists}/all | tar -C %{buildroot} -xp
cp -a {lists}/root/. %{buildroot}
%package -n sdee-release
Summary: what this system is
Version: 9
Provides: system-release = 9
Provides: /bin/sh
AutoReqProv: no
%description -n sdee-release
%files -n sdee-release -f {lists}/sdee-release
%defattr(-,root,root)
"""
ETC = {
    "os-release": 'NAME="Sdee Linux"\nID=sdee\nVERSION_ID=9\nPRETTY_NAME="Sdee Linux 9.1"\n',
    "passwd": "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1::/:/sbin/nologin\nmail:x:8:12::/var/mail:/sbin/nologin\nnobody:x:65534:65534::/:/sbin/nologin\n",
    "group": "root:x:0:\nbin:x:1:\nmail:x:12:\nutmp:x:22:\nnobody:x:65534:\n",
    "shadow": "root:*:19000:0:99999:7:::\n",
    "gshadow": "root:*::\n",
    "dnf/dnf.conf": "[main]\ngpgcheck=0\nplugins=0\n",
    "yum.repos.d/local.repo": "[local]\nname=local\nbaseurl=file:///srv/repository\nenabled=1\nmetadata_expire=0\n",
}


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _closure() -> list[str]:
    """The seeds with all that they depend on, of what is installed here."""
    field = _output(
        "dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Provides}\t${Pre-Depends}, ${Depends}\n"
    )
    depends: dict[str, str] = {}
    provides: dict[str, str] = {}
    for line in field.splitlines():
        name, status, provided, needs = line.split("\t")
        if status == "installed":
            depends[name] = needs
            provides.update((word.split(" ")[0], name) for word in provided.split(", ") if word)
    todo, found = SEEDS.split(), set()
    while todo:
        name = todo.pop()
        name = name if name in depends else provides.get(name, "")
        if name and name not in found and not NOT.fullmatch(name):
            found.add(name)
            todo += [re.split(r"[ :(|]", word.strip())[0] for word in depends[name].split(",")]
    return sorted(found)


def _files(package: str) -> list[str]:
    """Its paths, with compiled Python; /bin is /usr/bin, as on any system of today."""
    found = []
    for line in _output("dpkg-query", "-L", package).splitlines():
        path = os.path.join(os.path.realpath(os.path.dirname(line)), os.path.basename(line))
        if not path.startswith(("/usr/", "/etc/", "/var/")) or path.startswith(UNWANTED) or not os.path.lexists(path):
            continue
        found.append(path)
        if path.endswith(".py"):
            compiled = f"{os.path.dirname(path)}/__pycache__/{os.path.basename(path)[:-3]}.cpython-311.pyc"
            found += [compiled] if os.path.exists(compiled) else []
    return list(dict.fromkeys(found))


def _listed(path: str, root: Path = Path("/")) -> str:
    """A line of %files: quoted, a directory as such, a file of /etc as configuration."""
    real = root / path[1:]
    if real.is_dir() and not real.is_symlink():
        return f'%dir "{path}"\n'
    return f'{"%config(noreplace) " if path.startswith("/etc/") and not real.is_symlink() else ""}"{path}"\n'


def build_packages(place: Path) -> None:
    """Make RPM packages of them in place/RPMS."""
    lists, root = place / "lists", place / "lists/root"
    (root / "etc").mkdir(parents=True)
    for name, text in ETC.items():
        (root / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "etc" / name).write_text(text)
    (root / "etc/shadow").chmod(0)
    (root / "usr/lib/sysimage/rpm").mkdir(parents=True)
    (root / "usr/lib/rpm/macros.d").mkdir(parents=True)
    (root / "usr/lib/rpm/macros.d/macros.sdee").write_text("%_dbpath /usr/lib/sysimage/rpm\n")
    (root / "usr/bin").mkdir()
    (root / "usr/bin/sh").symlink_to("bash")
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/rpm").symlink_to("../../usr/lib/sysimage/rpm")
    (root / "usr/bin").chmod(0o555)  # as Fedora's package `filesystem` has it
    own = [str(path).removeprefix(str(root)) for path in sorted(root.rglob("*"))]
    taken = set(own)
    (lists / "sdee-release").write_text("".join(_listed(path, root) for path in own))
    spec, everything = HEAD.replace("{lists}", str(lists)), set()
    for package in _closure():
        files = [path for path in _files(package) if path not in taken]
        files = [path for path in files if path not in everything]
        if not files:
            continue
        everything.update(files)
        version = (
            _output("dpkg-query", "-W", "-f", "${Version}", package).split(":")[-1].split("-")[0].replace("+", ".")
        )
        (lists / package).write_text("".join(map(_listed, files)))
        spec += f"%package -n {package}\nSummary: {package}\nVersion: {version}\nAutoReqProv: no\n%description -n {package}\n%files -n {package} -f {lists}/{package}\n"
    (lists / "all").write_text("".join(f"{path}\n" for path in sorted(everything)))
    rpmbuild(place, "system", spec)


def rpmbuild(place: Path, name: str, spec: str) -> None:
    """Build what `spec` says into place/RPMS."""
    (place / f"{name}.spec").write_text(spec)
    command = [
        "rpmbuild",
        "-bb",
        "--quiet",
        "--define",
        f"_topdir {place}",
        "--define",
        "__os_install_post %{nil}",
        "--define",
        "_build_id_links none",
        "--define",
        "debug_package %{nil}",
    ]
    done = subprocess.run([*command, f"{place}/{name}.spec"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def install_system(place: Path, root: Path) -> None:
    """Install them all into an empty root with rpm(8)."""
    for name in TOP:
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir()
        (root / name).symlink_to(f"usr/{name}")
    for name in ("tmp", "var/tmp", "var/log"):
        (root / name).mkdir(exist_ok=True, parents=True)
        os.chmod(root / name, 0o755 if name == "var/log" else 0o1777)
    packages = sorted(str(path) for path in (place / "RPMS").rglob("*.rpm"))
    macros = ["--define", "_dbpath /usr/lib/sysimage/rpm"]  # Debian's rpm has the backend sqlite only
    done = subprocess.run(
        ["rpm", "--root", str(root), *macros, "-i", "--nodeps", "--noscripts", "--force-debian", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    subprocess.run(["chroot", str(root), "/usr/sbin/ldconfig"], check=True)


# Its own mount namespace; what is mounted is this machine's checkout, with the command under test, and a home
ENTER = """
set -e
{mount}
cd {root}
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs none tmp -o mode=1777
mount -t tmpfs none run -o mode=755
mkdir -p .{checkout} .{home}
mount --bind {checkout} .{checkout}
mount --bind {home} .{home}
mkdir -p mnt/old
pivot_root . mnt/old
umount -l /mnt/old
cd {home}
exec "$@"
"""


@dataclass(frozen=True)
class Host:
    """A system's root directory and a user's home, which lies on this machine at the same path.

    `upper`: the root is the cache's with a layer over it, for what root does there, and need not be copied.
    """

    root: Path
    home: Path
    upper: Path | None = None

    def run(
        self, *command: str, check: bool = True, uid: int = UID, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the root as a user, or as the machine's administrator (uid 0)."""
        mount = f"mount --bind {self.root} {self.root}"
        if self.upper:
            layers = f"lowerdir={CACHE}/roots/rpm,upperdir={self.upper},workdir={self.upper}-work"
            mount = f"mount -t overlay overlay -o {layers} {self.root}"
        script = ENTER.format(mount=mount, root=self.root, home=self.home, checkout=CHECKOUT)
        environ = {
            "HOME": str(self.home) if uid else "/root",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "PATH": f"{SDEE.parent}:/usr/local/bin:/usr/sbin:/usr/bin",
            **(variables or {}),
        }
        done = subprocess.run(
            [
                "unshare",
                "-m",
                "bash",
                "-c",
                script,
                "bash",
                *(becomes(uid) if uid else ()),
                *command,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            env=environ,
            timeout=300,
        )
        assert not check or done.returncode == 0, f"on {self.root}: {command}\n{done.stdout}{done.stderr}"
        return done

    def sdee(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(str(SDEE), *arguments, check=check)

    def inside(self, name: str, script: str, check: bool = True) -> str:
        """Return what a shell script prints in an environment."""
        return self.sdee("env", "enter", name, "--", "bash", "-c", f"exec 2>&1; {script}", check=check).stdout

    def state(self, name: str) -> Path:
        return self.home / ".local/share/sdee/environments" / name


TOOL = """Name: tool
Version: {version}
Release: 1
Summary: on the host, and upgraded inside
License: none
BuildArch: noarch
%description
Two versions of it.
%install
mkdir -p %{{buildroot}}/usr/bin %{{buildroot}}/etc %{{buildroot}}/usr/share/tool/old %{{buildroot}}/usr/share/tool/same
cd %{{buildroot}}
echo 'echo tool {version}' >usr/bin/tool; echo two >usr/bin/tool-one; ln usr/bin/tool-one usr/bin/tool-two; ln -s tool usr/bin/alias
echo 'version={version}' >etc/tool.conf; echo same >usr/share/tool/same/file; echo {version} >usr/share/tool/file
if [ {version} = 1 ]; then rm -r usr/share/tool/old; echo 'a file' >usr/share/tool/old; echo gone >usr/share/tool/gone
else echo new >usr/share/tool/old/new; fi
%pretrans -p <lua>
if posix.stat("/usr/share/tool/old", "type") == "regular" and "{version}" ~= "1" then os.remove("/usr/share/tool/old") end
%post
echo "post {version} $1" >>/var/log/tool
%postun
echo "postun {version} $1" >>/var/log/tool
%files
%attr(4755,root,root) /usr/bin/tool
/usr/bin/tool-*
/usr/bin/alias
%config(noreplace) /etc/tool.conf
/usr/share/tool
"""

SERVICE = """Name: service
Version: {version}
Release: 1
Epoch: 1
AutoReqProv: no
Summary: with a user of its own
License: none
Requires: tool
%description
It has what packages of daemons have.
%install
mkdir -p %{{buildroot}}/usr/bin %{{buildroot}}/etc/service %{{buildroot}}/var/lib/service %{{buildroot}}/var/log %{{buildroot}}/usr/share/service
cd %{{buildroot}}
cp -L /bin/true usr/bin/service; echo key >etc/service/key; echo data {version} >var/lib/service/data; touch var/log/service
ln -s ../service/data var/lib/service/link
%pre
getent group service >/dev/null || groupadd -r service
getent passwd service >/dev/null || useradd -r -g service -d /var/lib/service -s /sbin/nologin service
%post
echo "service $1" >>/var/log/tool
%preun
echo "service preun $1" >>/var/log/tool
%triggerin -- tool
echo "triggered by tool $2" >>/var/log/tool
%triggerun -- tool
echo "tool goes $2" >>/var/log/tool
%transfiletriggerin -- /usr/share/tool
echo "files of tool: $(grep -c .)" >>/var/log/tool
%files
%caps(cap_net_raw=ep) %attr(0755,root,service) /usr/bin/service
%dir %attr(0750,root,service) /etc/service
%config(noreplace) %attr(0640,root,service) /etc/service/key
%dir %attr(0700,service,service) /var/lib/service
%attr(0600,service,service) /var/lib/service/data
%attr(-,service,service) /var/lib/service/link
%ghost %attr(0644,service,mail) /var/log/service
%dir /usr/share/service
"""


def build_repository(place: Path, root: Path) -> None:
    """Build two versions of `tool` and `service`; version 1 of `tool` is installed, all is in the root's repository."""
    for version in ("1", "2"):
        rpmbuild(place, "tool", TOOL.format(version=version))
        rpmbuild(place, "service", SERVICE.format(version=version))
    repository = root / "srv/repository"
    repository.mkdir()
    for path in (place / "RPMS").glob("*/*.rpm"):
        shutil.copyfile(path, repository / path.name)  # the cache may lie on another device than /tmp
    subprocess.run(["createrepo_c", "-q", str(repository)], check=True)


@contextmanager
def a_host(*, layered: bool = False) -> Iterator[Host]:
    """Make a host that the test may change, and a user's home; `tool` 1 is installed on it. `layered`: see Host.upper."""
    # of the packages that it is made of: what else is installed here is no reason to spend 25 s on it again
    versions = _output("dpkg-query", "-W", *_closure())
    stamp = hashlib.sha256(Path(__file__).read_bytes() + versions.encode()).hexdigest()
    with cached("roots/rpm", stamp) as building:
        if building:
            with tempfile.TemporaryDirectory(prefix="sdee-rpm-") as workshop:
                build_packages(Path(workshop))
                install_system(Path(workshop), Path(building))
                build_repository(Path(workshop), Path(building))
    place = Path(tempfile.mkdtemp(prefix="sdee-env-rpm-"))
    try:
        host = Host(place / "root", place / "home", place / "upper" if layered else None)
        if layered:
            for name in ("root", "upper", "upper-work"):
                (place / name).mkdir()
        else:
            subprocess.run(["cp", "-a", "--reflink=auto", f"{CACHE}/roots/rpm", str(host.root)], check=True)
        host.home.mkdir()
        place.chmod(0o755)
        os.chown(host.home, UID, UID)
        host.run("rpm", "-i", "/srv/repository/tool-1-1.noarch.rpm", uid=0)
        yield host
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(place)], check=False)
