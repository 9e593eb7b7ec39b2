#!/bin/sh
# The jobs by their names: `extract FLAGS` is `python -m jobs.extract FLAGS`.
set -eu

root=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
job=${1:---help}

list() {
    echo "usage: docker run [OPTIONS] IMAGE JOB [FLAGS]"
    echo "jobs, each of which takes --help:"
    for file in "$root"/jobs/*.py; do
        name=$(basename -- "$file" .py)
        [ "$name" = __init__ ] || echo "  $name"
    done
}

case "$job" in
    -h | --help) list; exit 0 ;;
    *[!a-z_]* | __init__) ;;
    *)
        if [ -f "$root/jobs/$job.py" ]; then
            shift
            # A job runs in the root, from which Ray ships it: paths of the user's are absolute, as in /data.
            cd "$root"
            exec python -m "jobs.$job" "$@"
        fi
        ;;
esac
{
    echo "error: there is no job $job"
    list
} >&2
exit 2
