// The billing office in JupyterLab: runs a page when it is opened, and draws the bar of pages.
//
// It runs only what carries the office's mark in its metadata and what Jupyter trusts, that is,
// what this user's own Jupyter signed (nbformat.sign): a notebook from elsewhere is never run.
// At /doc (panels/server.py) nothing of the notebook's own frame is left: no toolbar, no prompts,
// no keys that delete a cell. At /lab it stays an ordinary notebook with its code folded away.
// A prebuilt JupyterLab extension is a module federation container; this one is written out, for
// it needs nothing but the application, which every plugin is given, and Lumino's Widget.
(() => {
  const page = JSON.parse(document.getElementById('jupyter-config-data')?.textContent || '{}');
  const office = page.mode === 'single-document';
  const OFFICE = 'billing-office';
  const titled = name => page.billingTitles?.[name] || name;

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
    panel.addClass(OFFICE);
    // Links between pages open in place, also those that a widget shows.
    panel.node.addEventListener('click', event => {
      const link = event.target.closest('a[href]');
      const found = link && /\/(?:doc|lab)\/tree\/(.+\.ipynb)$/.exec(new URL(link.href).pathname);
      if (found && !link.target && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
        event.preventDefault();
        event.stopPropagation();
        void app.commands.execute('docmanager:open', { path: decodeURIComponent(found[1]) });
      }
    });
    if (office) {
      furnish(panel);
    }
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

  // A page is read and its forms are filled in; it is not edited.
  const furnish = panel => {
    panel.toolbar.hide();
    // JupyterLab's keys, such as d d for deleting a cell, are heard at the document.
    panel.content.node.addEventListener('keydown', event => event.stopPropagation());
    const still = event => {
      if (event.target.closest('.jp-MarkdownCell')) {
        event.stopPropagation();
      }
    };
    panel.node.addEventListener('dblclick', still, true);
  };

  // RC/1993-10/review-RC-1993-10.ipynb → {facility: 'RC', period: '1993-10', name: 'review'}
  const parsed = path => {
    const [file, period, facility] = path.split('/').reverse();
    const stem = file.replace(/\.ipynb$/, '');
    const place = facility ? `-${facility}-${period}` : '';
    return { facility, period, name: place ? stem.replace(place, '') : stem };
  };

  const bar = app => {
    const nav = document.createElement('nav');
    nav.setAttribute('aria-label', 'Pages of the billing office');
    const link = (path, label, current) => {
      const made = document.createElement('a');
      made.href = `${page.baseUrl || '/'}doc/tree/${path.split('/').map(encodeURIComponent).join('/')}`;
      made.textContent = label;
      if (current) {
        made.setAttribute('aria-current', 'page');
      }
      made.addEventListener('click', event => {
        if (!(event.ctrlKey || event.metaKey || event.shiftKey)) {
          event.preventDefault();
          void app.commands.execute('docmanager:open', { path });
        }
      });
      return made;
    };
    const group = (label, links) => {
      const made = document.createElement('span');
      made.className = 'billing-group';
      if (label) {
        const month = document.createElement('b');
        month.textContent = label;
        made.append(month);
      }
      made.append(...links);
      return made;
    };
    const draw = path => {
      const { facility, period, name } = parsed(path);
      const { home, month, general } = page.billingPages;
      const of = each => `${facility}/${period}/${each}-${facility}-${period}.ipynb`;
      const groups = [group('', [link(`${home}.ipynb`, 'Home', name === home)])];
      if (facility) {
        const links = month.map(each => link(of(each), titled(each), each === name));
        groups.push(group(`${facility} ${period}`, links));
      }
      const others = general.map(each => link(`${each}.ipynb`, titled(each), each === name));
      groups.push(group('', others));
      const lab = document.createElement('a');
      lab.href = `${page.baseUrl || '/'}lab/tree/${path}`;
      lab.target = '_blank';
      lab.textContent = 'JupyterLab';
      lab.title = 'Opens the ordinary JupyterLab in another tab, for those who program';
      nav.replaceChildren(...groups, lab);
      return facility ? `${titled(name)} ${facility} ${period}` : titled(name);
    };
    return { nav, draw };
  };

  const enter = (app, Widget) => {
    document.body.classList.add('billing-doc');
    const { nav, draw } = bar(app);
    const widget = new Widget({ node: nav });
    widget.id = 'billing-bar';
    app.shell.add(widget, 'header', { rank: 0 });
    const hide = () => {
      for (const part of app.shell.layout.widgets) {
        if (part.id === 'jp-top-panel' || part.id === 'jp-menu-panel') {
          part.hide();
        }
      }
    };
    hide();
    void app.restored.then(hide);
    let title = '';
    const retitle = () => {
      if (title && document.title !== title) {
        document.title = title;
      }
    };
    new MutationObserver(retitle).observe(document.querySelector('title'), { childList: true });
    app.shell.currentChanged.connect(() => {
      const path = app.shell.currentWidget?.context?.path;
      if (path) {
        title = `${draw(path)} – Billing`;
        retitle();
      }
    });
    window.addEventListener('popstate', () => {
      const path = decodeURIComponent(location.pathname.split('/doc/tree/')[1] || '');
      if (path) {
        void app.commands.execute('docmanager:open', { path });
      }
    });
  };

  const style = document.createElement('style');
  style.textContent = `
    .billing-office .jp-Cell-inputWrapper:has(> .jp-Cell-inputArea > .jp-Placeholder),
    .billing-office .jp-Cell-inputWrapper:has(.jp-InputPlaceholder) { display: none; }
    .billing-doc .jp-Notebook-footer, .billing-doc .jp-Collapser,
    .billing-doc .jp-InputPrompt, .billing-doc .jp-OutputPrompt,
    .billing-doc .jp-OutputArea-promptOverlay,
    .billing-doc .jp-InternalAnchorLink { display: none !important; }
    .billing-doc .jp-Cell .jp-MarkdownOutput, .billing-doc .jp-Cell.jp-mod-active {
      border-color: transparent !important; box-shadow: none !important; }
    #billing-bar { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 22px;
      min-height: 44px; padding: 4px 18px; background: #fff; border-bottom: 1px solid #c8ced6;
      font-size: 14px; }
    #billing-bar .billing-group { display: flex; flex-wrap: wrap; align-items: center; gap: 2px; }
    #billing-bar b { padding-right: 6px; }
    #billing-bar a { color: #0b5394; padding: 6px 10px; border-radius: 4px; text-decoration: none; }
    #billing-bar a:hover { background: #eaf0f7; }
    #billing-bar a[aria-current] { background: #0b5394; color: #fff; }
    #billing-bar > a { margin-left: auto; font-size: 12px; }`;

  let widgets = null;
  const plugin = {
    id: 'billing-office:office',
    description: 'Runs a page of the billing office when it is opened, and draws its bar.',
    autoStart: true,
    activate: app => {
      document.head.append(style);
      app.docRegistry.addWidgetExtension('Notebook', {
        createNew: (panel, context) => {
          void runWhenOpened(app, panel, context);
        }
      });
      if (office) {
        enter(app, widgets.Widget);
      }
    }
  };

  globalThis._JUPYTERLAB = globalThis._JUPYTERLAB || {};
  let shared = {};
  globalThis._JUPYTERLAB['billing-office'] = {
    init: scope => {
      shared = scope;
    },
    get: async () => {
      const [lumino] = Object.values(shared['@lumino/widgets']);
      widgets = (await lumino.get())();
      return () => ({ __esModule: true, default: plugin });
    }
  };
})();
