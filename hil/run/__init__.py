"""Running a site on the bench: its devices on their wires, its controller as systemd would run it, its scenario played.

Laws:
- The controller is the one of the field. A run hands it time, a folder and a state; it cannot tell that it is watched.
- Lockstep and model run on virtual time (hil.clock): the same scenario and seed give the same run.
- What an operating system does to a program is done from outside: it is started, watched and started again
  (supervisor), killed between any two of its steps (kill), given a disk that fails (disk). A killed program runs no
  line more and leaves what a kernel leaves.
- A sweep (sweep) tries every place where a crash can fall, not a sample of them.

To add a fault of the process or the disk: what it does here, its verb in faults/process.py or faults/disk.py.
"""
