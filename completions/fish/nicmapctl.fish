# fish completion for nicmapctl: asks nicmapctl, which asks the daemon. Silent while the daemon is away.
# fish quotes what it inserts: no name that a guest gives its NIC can become a command.
function __nicmapctl_complete
    COMP_LINE=(commandline --cut-at-cursor --current-process | string collect) _NICMAPCTL_COMPLETE=lines_complete nicmapctl 2>/dev/null
end
complete --command nicmapctl --no-files --keep-order --arguments '(__nicmapctl_complete)'
