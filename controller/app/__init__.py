"""Where the rooms become one program: command line, site file, wiring, the service, systemd, the generated pages.

Laws:
- The top of the stairs: everything may be imported here, nothing imports this.
- A site file is judged once and whole, before anything starts (sitefile.py); what comes out has no open questions.
- Only main.py prints, and only main.py catches Exception: it tells what happened and ends the process.
- The watchdog is fed by a finished cycle and by nothing else.

To add a command: a row in main.COMMANDS and its function. A site key: a field with bounds and description in
model/site.py; `linepack init` and the README take it from there. A check between keys: a function in checks.CHECKS.
"""
