# Written by sdee, for interactive shells: the environment in the prompt, after ~/.zshrc has had its say;
# and `module`, where environment-modules or Lmod was installed inside
_sdee_name=${SDEE_ENVIRONMENT:-$(cat /etc/debian_chroot 2>/dev/null)}
_sdee_prompt() {
    [[ -z $_sdee_name || $PS1 == *"($_sdee_name)"* ]] || PS1="($_sdee_name) $PS1"
    # What ~/.zshrc has added behind us may rewrite PS1 each time
    [[ $precmd_functions[-1] == _sdee_prompt ]] || precmd_functions=(${precmd_functions:#_sdee_prompt} _sdee_prompt)
}
precmd_functions+=(_sdee_prompt)
if ! (( $+functions[module] )); then
    for _sdee_file in /usr/share/modules/init/zsh /usr/share/lmod/lmod/init/zsh; do
        [[ ! -r $_sdee_file ]] || source $_sdee_file
    done
fi
