"""A sandbox for code that a model wrote, and the tests that such code has to pass.

Layers, each found by trying it: an own session whose whole process group is killed; an unprivileged user where the
caller is root; rlimits; a supervisor whose end, or whose caller's end, ends everything below it; user, network, IPC,
PID and mount namespaces with a root of their own, or bubblewrap; Landlock; a session keyring of its own; a seccomp
filter that lets through what CPython needs (`syscalls`); a watch on the memory of all processes together. Session and
rlimits with either namespaces or bubblewrap are the least that code is run with, unless the caller says otherwise;
every verdict names the layers that were there.

The code and what judges it never share a process, see `reasoner.sandbox.inner`.

NOT covered:
- Bugs of the kernel in the system calls that are left.
- Side channels: caches, timing, load. The clock is readable, and so are the machine's name and its processor.
- Reading what anybody may read below /usr and the interpreter's own directory: a secret in a world-readable file there
  is no secret. Without Landlock a new /proc can be read as well.
- Processor time of the machine: each process has `cpu_seconds`, and up to `processes` of them run until `seconds` are
  over.
- Memory beyond `memory_mib` for as long as it takes to look, some twenty times a second; where the watch is not among
  the layers, `processes` times `memory_mib`. The kernel's own memory for pipes, mappings and descriptors, bounded by
  `processes` times `open_files` and by the kernel's limits for a user, counts in neither, nor do the files of the
  scratch directory, bounded by `disk_mib`. With bubblewrap the number of files may exceed `files` for as long as it
  takes to look.
- Without seccomp (a processor other than x86-64 and ARM64): memory that no process shows, such as shared memory
  segments, and the settings of the supervisor, such as its limits.
- A wrong answer that passes: tests prove no more than they ask, and code may recognise them by their arguments.
- With `allow_unsandboxed` on a machine that lacks layers, whatever the missing ones would stop. Rlimits and the process
  group remain; a daemon in a session of its own lives on, files and network are open, files fill the disk.
"""
