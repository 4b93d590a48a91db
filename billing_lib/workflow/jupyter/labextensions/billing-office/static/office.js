// Runs a notebook of the billing office when it is opened, so that staff see the month at once.
//
// It runs only what carries the office's mark in its metadata and what Jupyter trusts, that is,
// what this user's own Jupyter signed (nbformat.sign): a notebook from elsewhere is never run.
// Where code is collapsed nothing is left of its cell but what it shows; View > Expand All Code
// brings it back.
// A prebuilt JupyterLab extension is a module federation container; this one is written out, for
// it needs nothing but the application, which every plugin is given.
(() => {
  const marked = panel => panel.context.model.getMetadata('billing')?.run_when_opened === true;

  const trusted = panel =>
    Array.from(panel.context.model.cells).every(cell => cell.type !== 'code' || cell.trusted);

  const shown = (app, panel) =>
    new Promise(resolve => {
      const look = () => {
        if (panel.isDisposed || app.shell.currentWidget === panel) {
          app.shell.currentChanged?.disconnect(look);
          resolve(!panel.isDisposed);
        }
      };
      app.shell.currentChanged?.connect(look);
      look();
    });

  const runWhenOpened = async (app, panel, context) => {
    await context.ready;
    if (!marked(panel) || !trusted(panel)) {
      return;
    }
    panel.addClass('billing-office');
    await context.sessionContext.ready;
    await app.restored;
    if (await shown(app, panel)) {
      // JupyterLab's SemanticCommand.WIDGET: this notebook, whichever has the focus by now.
      const args = { semanticWidget: panel.id, activate: false };
      await app.commands.execute('notebook:run-all-cells', args);
      const last = panel.content.widgets.length - 1;
      if (panel.content.activeCellIndex === last) {
        // It ends at the last cell; who opens a notebook begins at the first.
        panel.content.activeCellIndex = 0;
        await panel.content.scrollToItem(0, 'start');
      }
    }
  };

  const style = document.createElement('style');
  style.textContent =
    '.billing-office .jp-Cell-inputWrapper:has(> .jp-Cell-inputArea > .jp-Placeholder), ' +
    '.billing-office .jp-Cell-inputWrapper:has(.jp-InputPlaceholder) { display: none; }';

  const plugin = {
    id: 'billing-office:run-when-opened',
    description: 'Runs a notebook of the billing office when it is opened.',
    autoStart: true,
    activate: app => {
      document.head.append(style);
      app.docRegistry.addWidgetExtension('Notebook', {
        createNew: (panel, context) => {
          void runWhenOpened(app, panel, context);
        }
      });
    }
  };

  globalThis._JUPYTERLAB = globalThis._JUPYTERLAB || {};
  globalThis._JUPYTERLAB['billing-office'] = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin })
  };
})();
