// A selector engine for Playwright, run in a world of its own that a page's scripts can neither see nor change.
//   read:<first free number>   one detached element whose text is what a person sees of the document, as JSON
//   ref:<e7>                   the element that a reading named so, while it is in the document
//   size                       one detached element whose text is "width height" of the whole document
// JSON: {title, items, next, cut, fonts}; items are [kind, ...]: text [t, words], break [b, mark], element [e, ref, role,
// name, value], frame [f, ref].
(() => {
  const MAX_NODES = 40000, MAX_CHARS = 300000, MAX_ELEMENTS = 2000, MAX_MS = 4000, MAX_DEPTH = 400;
  const SKIPPED = new Set('SCRIPT STYLE TEMPLATE NOSCRIPT HEAD META LINK OBJECT EMBED MATH AUDIO VIDEO CANVAS'.split(' '));
  const ROLES = new Set(('button link checkbox radio tab menuitem menuitemcheckbox menuitemradio option switch combobox '
    + 'textbox searchbox slider spinbutton treeitem').split(' '));
  const BLOCKS = new Set(['block', 'flex', 'grid', 'table', 'list-item', 'table-row', 'flow-root', 'table-caption']);
  const refOf = new WeakMap(), elementOf = new Map();

  const box = text => { const element = document.createElement('div'); element.textContent = text; return element; };
  const squeeze = text => text.replace(/\s+/g, ' ');
  const short = (text, max) => squeeze(text.slice(0, max * 4)).trim().slice(0, max);

  class Reading {
    constructor(first) {
      this.next = first; this.items = []; this.nodes = this.chars = this.elements = 0; this.cut = false;
      this.started = performance.now(); this.seen = new Map(); this.painted = null;
      this.width = Math.max(document.documentElement.scrollWidth, innerWidth);
    }

    over() {
      if (++this.nodes > MAX_NODES || this.chars > MAX_CHARS
        || (this.nodes % 50 === 0 && performance.now() - this.started > MAX_MS)) this.cut = true;
      return this.cut;
    }

    put(...item) { this.items.push(item); this.chars += 8; for (const part of item) this.chars += String(part).length; }

    // What hides an element and all in it: style, opacity and clip box, with those of its ancestors.
    look(element) {
      const known = this.seen.get(element);
      if (known) return known;
      const parent = element.parentElement || (element.getRootNode().host ?? null);
      const above = parent ? this.look(parent) : { opacity: 1, clip: [-1e9, -1e9, 1e9, 1e9], hidden: false };
      const style = getComputedStyle(element);
      const look = { style, opacity: above.opacity * parseFloat(style.opacity || '1'), clip: above.clip, hidden: above.hidden };
      const faded = /opacity\(\s*0(\.0\d*)?%?\s*\)/.test(style.filter);
      const clipped = /^(inset\((\s*(5\d|[6-9]\d|1\d\d)(\.\d+)?%)|circle\(0|ellipse\(0)/.test(style.clipPath)
        || (style.position !== 'static' && /^rect\(\s*(\d+)px,?\s*(\d+)px,?\s*\1px,?\s*\d+px|^rect\(0px,? 0px,? 0px,? 0px\)/.test(style.clip));
      if (look.opacity < 0.1 || faded || clipped || style.display === 'none' || style.contentVisibility === 'hidden') look.hidden = true;
      if (style.position === 'fixed') look.clip = [-1e9, -1e9, 1e9, 1e9];
      if (/hidden|clip/.test(style.overflowX + style.overflowY) && style.display !== 'inline' && element !== document.body
        && element !== document.documentElement) {
        const r = element.getBoundingClientRect(), [a, b, c, d] = look.clip;
        look.clip = [Math.max(a, r.left), Math.max(b, r.top), Math.min(c, r.right), Math.min(d, r.bottom)];
      }
      this.seen.set(element, look);
      return look;
    }

    // Whether a rectangle of an element's can be seen, by scrolling at most.
    inSight(r, look) {
      const [left, top, right, bottom] = look.clip;
      const w = Math.min(r.right, right) - Math.max(r.left, left), h = Math.min(r.bottom, bottom) - Math.max(r.top, top);
      return w > 2 && h > 2 && r.right + scrollX > 0 && r.bottom + scrollY > 0 && r.left + scrollX < this.width;
    }

    textSeen(node, parent) {
      const look = this.look(parent), style = look.style;
      if (look.hidden || style.visibility !== 'visible' || parseFloat(style.fontSize) < 4) return false;
      const range = document.createRange();
      range.selectNodeContents(node);
      const rects = range.getClientRects();
      let rect = null;
      for (let i = 0; i < rects.length && i < 20 && !rect; i++) if (this.inSight(rects[i], look)) rect = rects[i];
      return rect !== null && this.hasContrast(parent, style, rect);
    }

    // Text in the colour of what is behind it. With a picture behind it, it is taken as seen.
    hasContrast(element, style, rect) {
      const ink = rgba(style.webkitTextFillColor || style.color);
      if (style.backgroundClip === 'text' || style.webkitBackgroundClip === 'text' || style.textShadow !== 'none') return true;
      if (ink[3] < 0.1) return false;
      let paper = [255, 255, 255];
      for (let at = element; at; at = at.parentElement || (at.getRootNode().host ?? null)) {
        const back = getComputedStyle(at);
        if (back.backgroundImage !== 'none') return true;
        const colour = rgba(back.backgroundColor);
        if (colour[3] > 0.5) { paper = colour; break; }
      }
      if (Math.abs(ink[0] - paper[0]) + Math.abs(ink[1] - paper[1]) + Math.abs(ink[2] - paper[2]) > 24) return true;
      return this.isOverPaint(element, rect);
    }

    isOverPaint(element, rect) {
      if (!this.painted) {
        this.painted = [];
        const all = document.querySelectorAll('img,video,canvas,svg,picture,div,section,header,figure,span');
        for (let i = 0; i < all.length && i < 3000; i++) {
          const style = getComputedStyle(all[i]), media = /^(img|video|canvas|svg|picture)$/i.test(all[i].tagName);
          const positioned = style.position !== 'static' && (style.backgroundImage !== 'none' || rgba(style.backgroundColor)[3] > 0.5);
          if (media || positioned) this.painted.push([all[i], all[i].getBoundingClientRect()]);
        }
      }
      const x = (rect.left + rect.right) / 2, y = (rect.top + rect.bottom) / 2;
      return this.painted.some(([other, r]) => !element.contains(other) && !other.contains(element)
        && r.left <= x && x <= r.right && r.top <= y && y <= r.bottom);
    }

    elementSeen(element) {
      const look = this.look(element);
      if (look.hidden || look.style.visibility !== 'visible') return false;
      const rects = element.getClientRects();
      for (let i = 0; i < rects.length && i < 20; i++) if (this.inSight(rects[i], look)) return true;
      return false;
    }

    name(element) {
      let words = '';
      const collect = (node, depth) => {
        if (words.length > 400 || depth > 40 || this.over()) return;
        if (node.nodeType === 3) { if (node.data.trim() && this.textSeen(node, node.parentElement)) words += node.data + ' '; return; }
        if (node.nodeType !== 1 || SKIPPED.has(node.tagName.toUpperCase())) return;
        if (node.tagName === 'IMG') words += (node.alt || '') + ' ';
        for (const child of (node.shadowRoot || node).childNodes) collect(child, depth + 1);
      };
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName)) {
        if (/^(submit|button|reset|image)$/.test(element.type)) words = element.value || element.alt || element.type;
        else for (const label of [...(element.labels || [])].slice(0, 3)) collect(label, 0);
      } else if (!element.isContentEditable) collect(element, 0);
      words = short(words, 100);
      return words || short(element.getAttribute('aria-label') || element.placeholder || element.title || element.alt || element.name || '', 100);
    }

    value(element) {
      const tag = element.tagName, type = element.type;
      if (tag === 'SELECT') {
        const options = [...element.options].slice(0, 30).map(option => short(option.label, 60));
        const chosen = [...element.selectedOptions].slice(0, 5).map(option => short(option.label, 60));
        return JSON.stringify({ chosen, options, more: Math.max(0, element.options.length - 30) });
      }
      if (tag === 'INPUT' && (type === 'checkbox' || type === 'radio')) return element.checked ? 'checked' : 'not checked';
      if (tag === 'INPUT' && type === 'password') return element.value ? '(filled)' : '';
      if (tag === 'INPUT' && /^(submit|button|reset|image|file)$/.test(type)) return '';
      if (tag === 'INPUT' || tag === 'TEXTAREA') return short(element.value, 200);
      if (element.isContentEditable) return short(element.innerText || '', 200);
      return element.getAttribute('aria-checked') === 'true' ? 'checked' : '';
    }

    role(element) {
      const tag = element.tagName.toUpperCase(), role = (element.getAttribute('role') || '').trim().toLowerCase();
      if (tag === 'INPUT') {
        if (element.type === 'hidden') return null;
        return { checkbox: 'checkbox', radio: 'radio', submit: 'button', button: 'button', reset: 'button', image: 'button', file: 'file' }[element.type]
          || (element.type === 'password' ? 'password' : 'textbox');
      }
      if (tag === 'TEXTAREA') return 'textbox';
      if (tag === 'SELECT') return 'select';
      if (tag === 'BUTTON' || tag === 'SUMMARY') return 'button';
      if (ROLES.has(role)) return role;
      if (tag === 'A' && element.hasAttribute('href')) return 'link';
      if (element.isContentEditable && !element.parentElement?.isContentEditable) return 'textbox';
      return element.hasAttribute('onclick') ? 'button' : null;
    }

    ref(element, letter) {
      let ref = refOf.get(element);
      if (!ref) { ref = letter + this.next++; refOf.set(element, ref); elementOf.set(ref, element); }
      return ref;
    }

    walk(node, depth) {
      if (this.over() || depth > MAX_DEPTH) return;
      if (node.nodeType === 3) {
        const parent = node.parentElement || node.getRootNode().host;
        if (node.data.trim() ? parent && this.textSeen(node, parent) : node.data) {
          const pre = node.data.trim() && /^pre|break-spaces/.test(this.look(parent).style.whiteSpace);
          this.put('t', (pre ? node.data : squeeze(node.data)).slice(0, MAX_CHARS));
        }
        return;
      }
      if (node.nodeType !== 1) return;
      const tag = node.tagName.toUpperCase();
      if (SKIPPED.has(tag)) return;
      const look = this.look(node);
      if (look.hidden) return;
      const block = BLOCKS.has(look.style.display), heading = /^H[1-6]$/.exec(tag);
      if (heading) this.put('b', '\n\n' + '#'.repeat(+tag[1]) + ' ');
      else if (tag === 'LI') this.put('b', '\n- ');
      else if (tag === 'TD' || tag === 'TH') this.put('b', ' | ');
      else if (tag === 'BR') this.put('b', '\n');
      else if (block) this.put('b', tag === 'P' || tag === 'TABLE' || tag === 'SECTION' ? '\n\n' : '\n');
      if (this.interactive(node) === 'whole') return;
      if (tag === 'IFRAME' || tag === 'FRAME') { if (this.elementSeen(node)) this.put('f', this.ref(node, 'f')); return; }
      if (tag === 'IMG') { if (node.alt && this.elementSeen(node)) this.put('t', '(image: ' + short(node.alt, 100) + ')'); return; }
      const children = tag === 'SLOT' && node.assignedNodes().length ? node.assignedNodes() : (node.shadowRoot || node).childNodes;
      const folded = tag === 'DETAILS' && !node.open;
      for (const child of children) if (!folded || child.tagName === 'SUMMARY') this.walk(child, depth + 1);
      if (heading) this.put('b', '\n\n'); else if (block) this.put('b', '\n');
    }

    // Puts the element and says 'whole' if its name says all that is in it.
    interactive(element) {
      const role = this.role(element);
      if (role === null) return null;
      const isControl = /^(INPUT|TEXTAREA|SELECT|BUTTON)$/.test(element.tagName);
      const seen = this.elementSeen(element) || (/checkbox|radio/.test(role) && [...(element.labels || [])].some(l => this.elementSeen(l)));
      const within = [...element.querySelectorAll('*')].slice(0, 50);
      if (!seen && !within.some(child => this.elementSeen(child))) return isControl ? 'whole' : null;
      if (this.elements >= MAX_ELEMENTS) { this.cut = true; return 'whole'; }
      this.elements++;
      const name = this.name(element);
      this.put('e', this.ref(element, 'e'), role, name, this.value(element), element.disabled === true);
      const holds = within.some(child => /^(A|BUTTON|INPUT|SELECT|TEXTAREA|IFRAME)$/.test(child.tagName));
      return isControl || role === 'textbox' || (!holds && name.length < 100) ? 'whole' : null;
    }
  }

  function rgba(colour) {
    const parts = (/^rgba?\(([^)]*)\)/.exec(colour) || ['', '0,0,0,1'])[1].split(/[\s,\/]+/).map(parseFloat);
    return [parts[0] || 0, parts[1] || 0, parts[2] || 0, parts.length > 3 ? parts[3] : 1];
  }

  function read(first) {
    const reading = new Reading(first);
    for (const [ref, element] of elementOf) if (!element.isConnected) elementOf.delete(ref);
    if (document.body) reading.walk(document.body, 0);
    const fonts = new OffscreenCanvas(1, 1).getContext('2d').measureText('x').width > 0;
    return JSON.stringify({ title: short(document.title, 300), items: reading.items, next: reading.next, cut: reading.cut, fonts });
  }

  return {
    query(root, selector) { return this.queryAll(root, selector)[0]; },
    queryAll(root, selector) {
      const [what, argument] = selector.split(':');
      if (what === 'read') return [box(read(+argument))];
      if (what === 'size') return [box(document.documentElement.scrollWidth + ' ' + document.documentElement.scrollHeight)];
      const element = elementOf.get(argument);
      return element && element.isConnected ? [element] : [];
    },
  };
})()
