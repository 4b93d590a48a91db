"""Delivery: invoices and statements by mail, each sent once.

    queue.py    messages about new invoices and statements enter the outbox, in one transaction
    send.py     waiting messages go out one by one: claimed, sent, marked
    bounce.py   a report that came back by mail

A message's content is fixed when it is queued. SENDING is committed before the mail server gets the
message; a crash leaves that state, and a person is asked (docs/delivery.md).
"""
