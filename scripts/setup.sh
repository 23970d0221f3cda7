# shellcheck shell=sh
# Sourced by scripts/demo and scripts/test, with the checkout as working folder: a .venv that fits this checkout.
#
#   set_up NAME REQUIREMENTS...
#
# NAME is what the requirements are for ("demo", "test"); REQUIREMENTS are arguments of `pip install`. Afterwards $python
# is the environment's Python, with the requirements and this checkout in it, the latter installed in place. A second
# call with nothing changed takes a moment: .venv/ready-NAME holds a hash of what was installed.

python=.venv/bin/python

stop() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# True if the command $1 is a Python that this project runs on; a command may exist and not run.
is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Make .venv if it is missing or has no pip, as after an interruption; never remove one.
make_environment() {
    if "$python" -m pip --version >/dev/null 2>&1; then
        is_new_enough "$python" || stop "the Python in .venv is older than 3.11; remove the folder .venv and start again"
        return
    fi
    base=
    for candidate in python3.11 python3 python3.12 python3.13 python3.14; do
        if is_new_enough "$candidate"; then
            base=$candidate
            break
        fi
    done
    [ -n "$base" ] || stop "Python 3.11 or newer is needed and was not found as python3.11 or python3; install it first"
    echo "Making the environment .venv with $("$base" --version) ..."
    "$base" -m venv .venv || stop "could not make .venv (message above); on Debian and Ubuntu: apt install python3-venv"
}

# What decides whether an installation still fits: the pins, the package list, the interpreter, where the checkout lies.
fingerprint() {
    "$python" - "$@" <<'PYTHON'
import hashlib, pathlib, sys
digest = hashlib.sha256(repr((sys.version, str(pathlib.Path.cwd()), sys.argv[1:])).encode())
for name in ("requirements.txt", "requirements-serve.txt", "requirements-dev.txt", "pyproject.toml"):
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PYTHON
}

# True if another folder's Python would import this checkout's packages: an older copy must never be what runs.
imports_checkout() {
    (cd / && "$OLDPWD/$python" - "$OLDPWD" <<'PYTHON'
import importlib.util, pathlib, sys
checkout = pathlib.Path(sys.argv[1]).resolve()
for name in ("flare_infer", "flare_eval", "flare_serve", "train"):
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or pathlib.Path(spec.origin).resolve().parent != checkout / name:
        sys.exit(1)
PYTHON
    ) 2>/dev/null
}

set_up() {
    name=$1
    shift
    make_environment
    wanted=$(fingerprint "$@") || stop "requirements.txt, requirements-dev.txt or pyproject.toml cannot be read"
    if [ "$(cat ".venv/ready-$name" 2>/dev/null)" = "$wanted" ] && imports_checkout; then
        return
    fi
    rm -f ".venv/ready-$name"
    echo "Installing into .venv: $* (PyTorch is large; the first time this takes minutes) ..."
    "$python" -m pip install -qq --disable-pip-version-check "$@" ||
        stop "installing failed (message above); a network or another package index may be needed"
    echo "Installing this checkout into .venv, in place ..."
    "$python" -m pip install -qq --disable-pip-version-check --no-deps --editable . ||
        stop "installing this checkout failed (message above)"
    imports_checkout || stop ".venv imports another copy of this project; remove the folder .venv and start again"
    echo "$wanted" >".venv/ready-$name"
}
