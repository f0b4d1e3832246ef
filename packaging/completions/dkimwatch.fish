# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_dkimwatch_global_optspecs
    string join \n h/help V/version
end

function __fish_dkimwatch_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_dkimwatch_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_dkimwatch_using_subcommand
    set -l cmd (__fish_dkimwatch_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -s h -l help -d 'Print help'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -s V -l version -d 'Print version'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "watch" -d 'Watch the keys and print a line for each access'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "run" -d 'Watch as a service: every event into the journal, and then alerts to standard output'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "unload" -d 'Take away what `run` left in the kernel'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "keys" -d 'List the keys of this host, and how each was found'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "doctor" -d 'Say what this kernel allows, which backend works, what stays unseen, and what to change'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "audit" -d 'Look for keys where none should be'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "events" -d 'Read the journal, or follow it as it is written'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "journal" -d 'Verify the journal, set its seal up, or say what it holds'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "config" -d 'Work on the configuration'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "replay" -d 'Run recorded accesses through the program and compare with the expected lines'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "report" -d 'Say what journals know: was a key exposed, since when, by whom, and what is to be done'
complete -c dkimwatch -n "__fish_dkimwatch_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand watch" -l config -d 'Configuration file [default: /etc/dkimwatch/dkimwatch.toml, if there is one]' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand watch" -l key -d 'Watch this file, folder or glob as well (may be given several times)' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand watch" -l format -d 'Lines for people, or one ECS 9 object a line' -r -f -a "pretty\t'For people'
ecs\t'For machines: Elastic Common Schema 9, one JSON object a line'"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand watch" -l backend -d 'The way into the kernel: the first that works, or only this one' -r -f -a "auto\t'The first that reports a canary, in the order lsm, fentry, tracepoint'
lsm\t'Only this one'
fentry\t'Only this one'
tracepoint\t'Only this one'"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand watch" -l for -d 'Stop after this long: 30s, 10m, 2h, 1d' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand run" -l config -d 'Configuration file [default: /etc/dkimwatch/dkimwatch.toml, if there is one]' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand run" -l key -d 'Watch this file, folder or glob as well (may be given several times)' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand run" -l format -d 'What is told: lines for people, or one ECS 9 object a line' -r -f -a "pretty\t'For people'
ecs\t'For machines: Elastic Common Schema 9, one JSON object a line'"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand run" -l backend -d 'The way into the kernel: the first that works, or only this one' -r -f -a "auto\t'The first that reports a canary, in the order lsm, fentry, tracepoint'
lsm\t'Only this one'
fentry\t'Only this one'
tracepoint\t'Only this one'"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand run" -l pins -d 'Where the kernel keeps hooks and rings while no dkimwatch runs, on a BPF file system' -r -f -a "(__fish_complete_directories)"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand run" -l no-pin -d 'End the hooks with the service: what happens until it is started again is not seen'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand unload" -l pins -d 'Where they are' -r -f -a "(__fish_complete_directories)"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand unload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand keys" -l config -d 'Configuration file [default: /etc/dkimwatch/dkimwatch.toml, if there is one]' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand keys" -l key -d 'Watch this file, folder or glob as well (may be given several times)' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand keys" -l json -d 'Print one JSON document'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand keys" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand doctor" -l json -d 'Print one JSON document'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and not __fish_seen_subcommand_from images help" -s h -l help -d 'Print help'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and not __fish_seen_subcommand_from images help" -f -a "images" -d 'Search container images for private keys, layer by layer'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and not __fish_seen_subcommand_from images help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and __fish_seen_subcommand_from images" -l store -d 'Search this store of Podman, CRI-O, Docker or containerd (may be given several times)' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and __fish_seen_subcommand_from images" -l record -d 'File with published DKIM records, as in a zone file, to tell whose key it is (may be given several times)' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and __fish_seen_subcommand_from images" -l layer-limit -d 'Search a layer until it has expanded to so many GiB' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and __fish_seen_subcommand_from images" -l all -d 'List well-known keys as well: those in the documentation and the test suites of packages'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and __fish_seen_subcommand_from images" -l json -d 'Print one JSON document; in it DKIM keys are of severity high, other ones low, well-known ones notice'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and __fish_seen_subcommand_from images" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "images" -d 'Search container images for private keys, layer by layer'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand events" -l journal -d 'The journal\'s folder, or a copy of it' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand events" -l since -d 'Only from this time on: 2026-11-28, "2026-11-28 14:00", RFC 3339, or how long ago: 90m, 2h, 7d, 4w' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand events" -l until -d 'Only until before this time; a day alone is meant with all its hours' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand events" -l key -d 'Only of this key: its path, or its domain, or domain/selector' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand events" -l verdict -d 'Only accesses that were judged so' -r -f -a "expected\t'By an expected signer'
maintenance\t'By declared maintenance'
unexpected\t'By anybody else'"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand events" -l format -d 'Lines for people, or one ECS 9 object a line' -r -f -a "pretty\t'For people'
ecs\t'For machines: Elastic Common Schema 9, one JSON object a line'"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand events" -l follow -d 'Go on with what is written from now on'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and not __fish_seen_subcommand_from verify setup-sealing info help" -s h -l help -d 'Print help'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and not __fish_seen_subcommand_from verify setup-sealing info help" -f -a "verify" -d 'Check every entry against its checksum, its place, the chain and the seal, and name the first one that is not as it was'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and not __fish_seen_subcommand_from verify setup-sealing info help" -f -a "setup-sealing" -d 'Seal the journal from its next segment on, and print the verification key, once'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and not __fish_seen_subcommand_from verify setup-sealing info help" -f -a "info" -d 'Say what the journal holds, and since when'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and not __fish_seen_subcommand_from verify setup-sealing info help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from verify" -l journal -d 'The journal\'s folder' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from verify" -l key-file -d 'File with the verification key, as `journal setup-sealing` printed it' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from verify" -l key -d 'The verification key itself; others on this machine can see it in the list of processes' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from setup-sealing" -l journal -d 'The journal\'s folder' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from setup-sealing" -l renew -d 'Draw a new key although there is one: the old one verifies what was sealed until now'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from setup-sealing" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from info" -l journal -d 'The journal\'s folder' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Check every entry against its checksum, its place, the chain and the seal, and name the first one that is not as it was'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from help" -f -a "setup-sealing" -d 'Seal the journal from its next segment on, and print the verification key, once'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from help" -f -a "info" -d 'Say what the journal holds, and since when'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand journal; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand config; and not __fish_seen_subcommand_from check help" -s h -l help -d 'Print help'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand config; and not __fish_seen_subcommand_from check help" -f -a "check" -d 'Check the configuration and print in short what it means'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand config; and not __fish_seen_subcommand_from check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'Configuration file [default: /etc/dkimwatch/dkimwatch.toml, if there is one]' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check the configuration and print in short what it means'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand replay" -l bless -d 'Write what comes out as the new expectation, instead of comparing'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l journal -d 'Folder of a journal, or of a copy of one, of this host or another (may be given several times)' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l since -d 'From this time on: 2026-11-28, "2026-11-28 14:00", RFC 3339, or how long ago: 90m, 2h, 7d, 4w' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l until -d 'Until before this time; a day alone is meant with all its hours' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l key -d 'Only accesses to this key, the keys of this folder, or those that fit a glob' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l domain -d 'Only accesses to keys of this domain' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l verdict -d 'Only accesses with this verdict' -r -f -a "expected\t'By expected signers'
maintenance\t'By declared maintenance'
unexpected\t'By anybody else'"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l user -d 'Only accesses by this user, by name or number: effective, real, or who logged in' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l process -d 'Only accesses by this program, by its path or its name' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l container -d 'Only accesses from this container, by its name or the beginning of its id' -r
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l verification-key-file -d 'File with the key that `journal setup-sealing` printed, which verifies the seals (may be given several times)' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l format -d 'For a terminal, for programs, for spreadsheets, or for a browser and a printer' -r -f -a "text\t'For a terminal or a mail'
json\t'One document for programs'
csv\t'A table for spreadsheets'
html\t'One page for a browser or a printer: no script, nothing that is fetched'"
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -l output -d 'Write to this file, which only its owner may read, and replace it once the report is complete' -r -F
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "watch" -d 'Watch the keys and print a line for each access'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "run" -d 'Watch as a service: every event into the journal, and then alerts to standard output'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "unload" -d 'Take away what `run` left in the kernel'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "keys" -d 'List the keys of this host, and how each was found'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "doctor" -d 'Say what this kernel allows, which backend works, what stays unseen, and what to change'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "audit" -d 'Look for keys where none should be'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "events" -d 'Read the journal, or follow it as it is written'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "journal" -d 'Verify the journal, set its seal up, or say what it holds'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "config" -d 'Work on the configuration'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "replay" -d 'Run recorded accesses through the program and compare with the expected lines'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "report" -d 'Say what journals know: was a key exposed, since when, by whom, and what is to be done'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and not __fish_seen_subcommand_from watch run unload keys doctor audit events journal config replay report help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "images" -d 'Search container images for private keys, layer by layer'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and __fish_seen_subcommand_from journal" -f -a "verify" -d 'Check every entry against its checksum, its place, the chain and the seal, and name the first one that is not as it was'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and __fish_seen_subcommand_from journal" -f -a "setup-sealing" -d 'Seal the journal from its next segment on, and print the verification key, once'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and __fish_seen_subcommand_from journal" -f -a "info" -d 'Say what the journal holds, and since when'
complete -c dkimwatch -n "__fish_dkimwatch_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Check the configuration and print in short what it means'
