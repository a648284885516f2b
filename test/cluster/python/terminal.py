"""Runs a program on a terminal of its own, for tests that need one (`kubectl exec -it`).

    terminal.py ROWS COLUMNS PROGRAM [ARGUMENT...]

Commands come as JSON lines on standard input: {"write": TEXT} types, {"resize": [ROWS, COLUMNS]} changes the window.
The program's output goes to standard output as it comes; the exit code is the program's.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios

CHUNK = 65536


def resize(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def obey(terminal, child, line):
    command = json.loads(line)
    if "write" in command:
        os.write(terminal, command["write"].encode())
    if "resize" in command:
        resize(terminal, *command["resize"])
        os.kill(child, signal.SIGWINCH)


def relay(terminal, child):
    """Moves bytes until the program has closed its terminal."""
    sources = [terminal, sys.stdin.fileno()]
    pending = b""
    while True:
        ready, _, _ = select.select(sources, [], [])
        if terminal in ready:
            try:
                output = os.read(terminal, CHUNK)
            except OSError:  # Linux says EIO when the last user of the other side has gone.
                return
            if not output:
                return
            os.write(sys.stdout.fileno(), output)
        if sys.stdin.fileno() in ready:
            typed = os.read(sys.stdin.fileno(), CHUNK)
            if not typed:
                sources.remove(sys.stdin.fileno())
            *lines, pending = (pending + typed).split(b"\n")
            for line in lines:
                obey(terminal, child, line)


def main(rows, columns, *program):
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(program[0], program)
    resize(terminal, int(rows), int(columns))
    relay(terminal, child)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main(*sys.argv[1:])
