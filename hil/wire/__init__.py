"""The wires between the controller and the bench's devices, and what can happen to bytes and frames on them.

Laws:
- A wire stands between two real sockets (proxy.py) or between a BMS and its bus (can.py) and knows neither end's
  meaning: with nothing added, what comes in goes out at once and unchanged.
- What disturbs it is a toxic: one small class that changes what passes. Toxics form a chain, in the order they were
  added, and can come and go while connections are open. What a toxic held when it goes is passed on, in order.
- A toxic says each time it changed something (`bit`), and whether it does is chance only from the generator handed in.
- Time is the loop's, or is handed in: the same disturbance takes the same virtual time in every run.
- Everything held is bounded.

To add a toxic: a class in toxics.py (any bytes), modbus.py (Modbus TCP frames) or can.py (CAN frames), its row in
hil/faults/wire.py or hil/faults/can.py.
"""
