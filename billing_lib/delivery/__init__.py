"""Delivery: invoices and statements by mail, each told once.

    queue.py    what is not told yet becomes messages in the outbox, in one transaction
    send.py     what waits goes out, one by one: claimed, sent, marked
    server.py   the mail server: one connection, and what each of its answers means
    bounce.py   a report that came back by mail

What a message says is fixed when it is queued. SENDING is committed before the server is told
anything; a crash leaves it standing, and a person is asked (docs/delivery.md).
"""
