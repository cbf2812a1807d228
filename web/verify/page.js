'use strict';
// The page around the judge. What it reads goes into the document as text only
// (textContent). The judge is the Go program in #program; this script never
// decides anything by itself.

const hexPage = 4096; // bytes of the hexadecimal view at once
const hexRow = 16; // bytes in a row of it

const at = (id) => document.getElementById(id);

// What each status means; its number is the exit code of sealpost verify.
const meanings = {
  'proven': ['good', 'The bundle shows everything that the policy asks for.'],
  'incomplete': ['wait', 'The bundle is well formed, and something that the policy asks for is not shown. That is no fault by itself.'],
  'trust expired': ['wait', 'The policy was not to be used at this time. Get a newer one from whoever made it.'],
  'diverged': ['bad', 'The bundle holds two signed histories that cannot both be honest. Somebody signed both: keep this file.'],
  'refused': ['bad', 'A check failed. Do not rely on this bundle for what the policy asks for.'],
};

const given = { bundle: null, policy: null }; // Uint8Array each
let judge = null; // the program's object, once it runs
let stopped = ''; // why it does not
let hexFrom = 0;
let marked = null; // range of bytes that a finding names

// make makes an element that holds text or other elements.
function make(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

function facts(list, pairs) {
  list.replaceChildren();
  for (const [name, value] of pairs) {
    if (value) list.append(make('dt', '', name), make('dd', '', value));
  }
  return list;
}

function bound(b) {
  if (!b) return '';
  return b.time ? b.time + ', ' + b.source : b.source;
}

function showStatus(kind, status, meaning, pairs) {
  at('verdict').className = kind;
  at('status').textContent = status;
  at('meaning').textContent = meaning;
  facts(at('facts'), pairs);
}

function fill(id, items) {
  at(id).querySelector('ul').replaceChildren(...items);
  at(id).hidden = items.length === 0;
}

function finding(f) {
  const item = make('li', meanings[f.status][0], make('span', 'tag', f.status), make('p', 'what', f.where + ': ' + f.why));
  if (f.bytes) {
    const show = make('button', '', 'Show bytes ' + f.bytes.from + ' to ' + (f.bytes.to - 1));
    show.type = 'button';
    show.addEventListener('click', () => {
      marked = f.bytes;
      hexFrom = Math.floor(f.bytes.from / hexPage) * hexPage;
      at('hex').open = true;
      showHex();
      at('hex').scrollIntoView();
      const mark = at('hex').querySelector('mark');
      if (mark) mark.scrollIntoView({ block: 'center' });
    });
    item.append(show);
  }
  return item;
}

function claim(c) {
  return make('li', '', make('span', 'tag', c.about), make('p', 'what', c.what), facts(make('dl', ''), [
    ['Not before', bound(c.not_before)],
    ['Not after', bound(c.not_after)],
    ['Limit', c.limit],
    ['Rests on', c.evidence.join(', ')],
  ]));
}

function conflict(c) {
  return make('li', '', make('p', 'what', c.what), facts(make('dl', ''), [
    ['One (base64)', c.a], ['Other (base64)', c.b], ['Tie (base64)', c.tie],
  ]));
}

// turn shows what there is now. It runs after every change.
function turn() {
  hexFrom = 0;
  marked = null;
  for (const id of ['decoded', 'diagnostic', 'hex']) at(id).open = false;
  at('raw').hidden = !given.bundle;
  for (const id of ['findings', 'conflicts', 'claims']) fill(id, []);
  show();
  document.body.dataset.turn = Number(document.body.dataset.turn) + 1;
}

function show() {
  if (stopped) return showStatus('bad', 'Could not check', stopped + ' Nothing is known about the bundle.', [['Exit code', '70']]);
  if (!judge) return;
  if (!given.bundle && !given.policy) return showStatus('', 'Nothing judged yet', 'Choose a bundle and the policy to judge it by.', []);
  if (!given.bundle) return showStatus('', 'Nothing judged yet', 'Choose a bundle.', []);
  if (!given.policy) return showStatus('', 'Nothing judged yet', 'Choose a trust policy: without one, there is nobody to trust.', []);
  const set = at('at').value.trim();
  let answer;
  try {
    answer = JSON.parse(judge.judge(given.bundle, given.policy, set || new Date().toISOString()));
  } catch (e) {
    stopped = 'The judge stopped: ' + e.message + '.';
    return show();
  }
  if (answer.fault) return showStatus('bad', 'Could not check', 'Nothing was judged. ' + answer.fault, [['Exit code', '64']]);
  const v = answer.verdict;
  const [kind, meaning] = meanings[v.status];
  showStatus(kind, v.status.toUpperCase(), meaning, [
    ['Message', v.message],
    ['Judged as of', v.at + (set ? ', as set above' : ', by this computer’s clock')],
    ['Policy', at('policy-name').textContent],
    ['Exit code', String(v.exit_code)],
  ]);
  fill('findings', v.findings.map(finding));
  fill('conflicts', (v.conflicts || []).map(conflict));
  fill('claims', v.claims.map(claim));
}

function showRaw() {
  let raw;
  try {
    raw = JSON.parse(judge.raw(given.bundle));
  } catch (e) {
    stopped = 'The judge stopped: ' + e.message + '.';
    return turn();
  }
  at('decoded').querySelector('pre').textContent = raw.decoded;
  at('diagnostic').querySelector('pre').textContent = raw.diagnostic;
}

// showHex shows one page of the bundle, with the bytes that a finding names marked.
function showHex() {
  const b = given.bundle;
  const end = Math.min(hexFrom + hexPage, b.length);
  const pre = at('hex').querySelector('pre');
  pre.replaceChildren();
  const hex = (n, width) => n.toString(16).padStart(width, '0');
  const inside = (i) => marked && i >= marked.from && i < marked.to;
  for (let row = hexFrom; row < end; row += hexRow) {
    pre.append(hex(row, 6) + '  ');
    for (let i = row; i < row + hexRow; i++) {
      const text = i < end ? hex(b[i], 2) : '  ';
      pre.append(i < end && inside(i) ? make('mark', '', text) : text, ' ');
    }
    let text = ' ';
    for (let i = row; i < Math.min(row + hexRow, end); i++) text += b[i] >= 32 && b[i] < 127 ? String.fromCharCode(b[i]) : '·';
    pre.append(text + '\n');
  }
  at('where').textContent = 'bytes ' + hexFrom + ' to ' + Math.max(hexFrom, end - 1) + ' of ' + b.length;
  at('back').disabled = hexFrom === 0;
  at('on').disabled = end >= b.length;
}

// take reads a file up to one byte more than is allowed: the judge sees then
// that it is too long, as the command's does.
async function take(which, file, most) {
  at(which + '-note').hidden = true;
  try {
    given[which] = new Uint8Array(await file.slice(0, most + 1).arrayBuffer());
    at(which + '-name').textContent = file.name + ', ' + file.size + ' bytes';
  } catch (e) {
    given[which] = null;
    at(which + '-name').textContent = 'could not be read: ' + e.message;
  }
  turn();
}

function accept(which, most) {
  const input = at(which), drop = at(which + '-drop');
  input.addEventListener('change', () => { if (input.files.length > 0) take(which, input.files[0], most); });
  drop.addEventListener('dragover', (e) => { e.preventDefault(); drop.classList.add('over'); });
  drop.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop.addEventListener('drop', (e) => {
    e.preventDefault();
    drop.classList.remove('over');
    if (e.dataTransfer.files.length > 0) take(which, e.dataTransfer.files[0], most);
  });
}

// data reads an element that holds base64; null where it is empty.
function data(id) {
  const text = at(id).textContent.trim();
  return text ? Uint8Array.from(atob(text), (c) => c.charCodeAt(0)) : null;
}

function takeCarried() {
  given.bundle = data('carried-bundle');
  given.policy = data('carried-policy');
  if (!given.bundle) return;
  const carried = given.bundle;
  at('bundle-note').hidden = false;
  at('bundle-name').textContent = 'inside this file, ' + carried.length + ' bytes';
  if (given.policy) {
    at('policy-note').hidden = false;
    at('policy-name').textContent = 'inside this file: whom its maker trusts, not your own';
  }
  at('save').addEventListener('click', () => {
    const link = make('a', '');
    link.href = URL.createObjectURL(new Blob([carried]));
    link.download = 'message.sealpost';
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

async function start() {
  try {
    const go = new Go();
    const unzipped = new Blob([data('program')]).stream().pipeThrough(new DecompressionStream('gzip'));
    const program = await WebAssembly.instantiate(await new Response(unzipped).arrayBuffer(), go.importObject);
    go.run(program.instance).then(() => { stopped = 'The judge ended.'; turn(); });
    judge = globalThis.sealpost;
  } catch (e) {
    stopped = 'This browser cannot run the judge: ' + e.message + '.';
    return turn();
  }
  accept('bundle', judge.bundleMax);
  accept('policy', judge.policyMax);
  takeCarried();
  turn();
}

// A file dropped beside the zones must not replace the page.
for (const type of ['dragover', 'drop']) addEventListener(type, (e) => e.preventDefault());
at('inputs').addEventListener('submit', (e) => e.preventDefault());
at('at').addEventListener('change', turn);
at('now').addEventListener('click', () => { at('at').value = ''; turn(); });
for (const id of ['decoded', 'diagnostic']) at(id).addEventListener('toggle', () => { if (at(id).open) showRaw(); });
at('hex').addEventListener('toggle', () => { if (at('hex').open) showHex(); });
at('back').addEventListener('click', () => { hexFrom -= hexPage; showHex(); });
at('on').addEventListener('click', () => { hexFrom += hexPage; showHex(); });
start();
