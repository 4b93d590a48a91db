"""A page's form of actions, used as staff use it: the look, and then the button."""

from billing_lib.panels.office import ActionForm


def look(form: ActionForm, action: str, **entries: object) -> None:
    """Choose an action, fill in its form, and have its effect shown."""
    form.action.value = action
    for name, value in entries.items():
        form.entries[name].value = value
    form.look.click()
    form.progress.wait()


def go(form: ActionForm) -> None:
    """Carry the action out."""
    form.go.click()
    form.progress.wait()
