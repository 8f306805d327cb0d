# Written by sdee, for interactive shells: the environment in the prompt of bash, and of each sh that reads $ENV
# or /etc/profile; and `module`, where environment-modules or Lmod was installed inside
if [ -n "${PS1-}" ] && [ -z "${ZSH_VERSION-}" ]; then
    _sdee_name=${SDEE_ENVIRONMENT:-$(cat /etc/debian_chroot 2>/dev/null)}
    _sdee_prompt() {
        case $PS1 in
        *"($_sdee_name)"*) ;;
        *debian_chroot*) [ -n "${debian_chroot-}" ] || PS1="($_sdee_name) $PS1" ;;
        *) PS1="($_sdee_name) $PS1" ;;
        esac
    }
    if [ -z "$_sdee_name" ]; then
        :
    elif [ -n "${BASH_VERSION-}" ]; then
        eval 'PROMPT_COMMAND[99]=_sdee_prompt'
    else
        _sdee_prompt
    fi
    if [ -n "${BASH_VERSION-}" ] && shopt -q login_shell; then
        : # /etc/profile does it
    elif ! command -v module >/dev/null; then
        for _sdee_file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do
            [ ! -r $_sdee_file ] || . $_sdee_file
        done
    fi
fi
