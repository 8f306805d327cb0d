# Written by sdee: the environment in the prompt; and `module`, where environment-modules or Lmod
# was installed inside
function _sdee_prompt --on-event fish_prompt
    if not set -q _sdee_name
        set -g _sdee_name $SDEE_ENVIRONMENT
        test -n "$_sdee_name"; or set -g _sdee_name (cat /etc/debian_chroot 2>/dev/null)
        set -g __fish_machine # or fish's own prompt shows /etc/debian_chroot once more
    end
    if test -n "$_sdee_name"; and not functions fish_prompt | string match -q '*_sdee_own_prompt*'
        functions -e _sdee_own_prompt
        functions -c fish_prompt _sdee_own_prompt
        function fish_prompt
            echo -n "($_sdee_name) "
            _sdee_own_prompt
        end
    end
end
if status is-interactive; and not functions -q module
    for file in /usr/share/modules/init/fish /usr/share/lmod/lmod/init/fish
        test -r $file; and source $file
    end
end
