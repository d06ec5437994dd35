"""The bench: it plays a site's devices on real protocol frames, breaks them, and judges what became of the plant.

    plant/      physics: pure, right for a step of any length, chance from a seed that is handed in
    devices/    frames in front of the plant's parts, from the vendors' papers
    wire/       the cables: a TCP proxy with toxics, a filter of CAN frames
    faults/     the catalogue F01 to F100, its verbs by layer, and the schedule that arms them
    scenario/   what a TOML file says, checked whole
    run/        lockstep, model and real time; player, supervisor, crash sweeps
    judge/      invariants and metrics on the truth
    campaign/   random scenarios, shrinker, covering arrays
    commands/   linepack-hil
    scenarios/  the scenarios

Laws:
- Layouts come from the vendors' papers, never from the controller's code: a wrong scale or sign must not cancel itself
  out. Of the controller, devices know the framing of its Modbus server only.
- The judge looks at the truth of the plant, never at telemetry. A fault that never bit proves nothing.
- Time is the event loop's: the same code runs in real time and on a virtual clock. One seed gives one run.
- Production code never imports the bench.

README.md beside this file is its page. Where a new thing goes stands there.
"""
