"""The bench: it plays the site's devices on real protocol frames and judges what the controller did to them.

Laws:
- plant/ is physics: pure, exact over any step, randomness from a seed that is handed in.
- devices/ speak the vendors' protocols. Their layouts come from the vendors' papers, never from the controller's code:
  a wrong scale or sign must not cancel itself out. Of the controller they know the framing of its Modbus server only.
- Truth travels on the wires (wires.py): every slot has one writer. Cables and faults are slots too, so that a device
  behaves the same in one process and in three.
- Time is the event loop's: the same code runs in real time and on a virtual clock.
- Production code never imports the bench.

To add an emulated device: its physics in plant/, its frames in devices/, its slots in wires.SLOTS, its name in
devices.KINDS.
"""
