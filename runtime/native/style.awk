# The stated style of C (CONTRIBUTING.md), as far as lines show it: `make lint` runs it over all sources.
function wrong(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what
    found = 1
}
length($0) > 160 { wrong("longer than 160 characters") }
/[ \t]$/ { wrong("blanks at its end") }
/\t/ { wrong("a tab: indent by four spaces") }
/^(    )* ( )?( )?[a-z].*;$/ && previous ~ /[;{}]$/ { wrong("not indented by four spaces") }
/(^|[^A-Za-z_])(if|for|while|switch)\(/ { wrong("no space before the parenthesis") }
/\)\{$/ && !/\(struct [a-z_]+\)\{$/ { wrong("no space before the brace") }
/^[a-z][A-Za-z0-9_ *]*\(.*\) *\{$/ { wrong("a function's brace stands on a line of its own") }
/^ +\{$/ && previous ~ /\)$/ && previous ~ /(if|for|while|switch) \(/ { wrong("a statement's brace stands on its line") }
/^ *else/ && previous ~ /^ *\}$/ { wrong("else stands after the brace") }
{ previous = $0 }
END { exit found }
