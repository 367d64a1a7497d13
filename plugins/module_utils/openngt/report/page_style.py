# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501  rules of a sheet are read one a line
"""The page's style sheet and script as text: what is imported travels with a module, a file beside it would not."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

# The colours of states are the console's. Dark text on each of them has a contrast of at least 4.5 in both schemes.
STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --text: #1b1f23; --quiet: #57606a; --line: #d0d7de; --raised: #f6f8fa; --link: #0b5cad;
  --none: #d5d8dc; --pass: #9be3ac; --info: #fff3a8; --warn: #ffc846; --fail: #f28b82; --on-state: #16191d; --edge: #8a929b;
  --serial: #2f7ec4; --tls: #6bb0e6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161b; --text: #e3e8ee; --quiet: #a3adb8; --line: #353d47; --raised: #1b2129; --link: #7db9f5;
    --none: #8a929b; --pass: #57b36e; --info: #e6d35c; --warn: #e0a11b; --fail: #ef6b62; --on-state: #0c0f12; --edge: #5b646e;
    --serial: #7db9f5; --tls: #3f77ab;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 1.5rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .3rem 0; }
a { color: var(--link); }
.quiet { color: var(--quiet); font-size: .9rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.skip:focus { width: auto; height: auto; clip-path: none; padding: .4rem; background: var(--ground); }

.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); padding: 0; margin: 1.4rem 0 0; list-style: none; }
.cards li { padding: .8rem 1rem; border: 1px solid var(--line); border-top: 4px solid var(--edge); border-radius: .4rem; background: var(--raised); }
.cards .PASS { border-top-color: var(--pass); } .cards .INFO { border-top-color: var(--info); }
.cards .WARN { border-top-color: var(--warn); } .cards .FAIL { border-top-color: var(--fail); }
.cards strong { display: block; font-size: 1.9rem; line-height: 1.15; font-variant-numeric: tabular-nums; }
.cards span { display: block; }

.s { display: inline-block; min-width: 3.4rem; text-align: center; padding: 0 .5rem; border-radius: .3rem; font-size: .85rem;
  white-space: nowrap; color: var(--on-state); background: var(--none); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.s.PASS, .k.PASS { background: var(--pass); } .s.INFO, .k.INFO { background: var(--info); }
.s.WARN, .k.WARN { background: var(--warn); } .s.FAIL, .k.FAIL { background: var(--fail); }
.k { display: inline-block; width: .85rem; height: .85rem; border-radius: .2rem; vertical-align: -.08rem; margin-right: .4rem; background: var(--none);
  border: 1px solid var(--edge); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.k.serial { background: var(--serial); } .k.tls { background: var(--tls); } .k.inactive { background: var(--warn); }

.two { display: grid; gap: 0 3rem; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); align-items: start; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; padding: 0; margin: .5rem 0; list-style: none; }
figure { margin: 0; overflow-x: auto; }
figure svg { min-width: 44rem; }
svg { display: block; width: 100%; height: auto; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
svg .axis { fill: var(--quiet); } svg .rule { stroke: var(--line); } svg .base { stroke: var(--edge); }
svg .FAIL { fill: var(--fail); } svg .WARN { fill: var(--warn); } svg .INFO { fill: var(--info); } svg .PASS { fill: var(--pass); }
svg .none, svg .off { fill: var(--none); } svg .serial { fill: var(--serial); } svg .tls { fill: var(--tls); } svg .inactive { fill: var(--warn); }
svg .bar { stroke: var(--edge); stroke-width: .5; } svg .plain { fill: var(--tls); } svg .rest { fill: var(--raised); }
.share { height: 1.6rem; border-radius: .3rem; }

table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--quiet); padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .7rem; border-bottom: 1px solid var(--line); }
thead th { background: var(--raised); white-space: nowrap; }
tbody th { font-weight: 600; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.w { white-space: nowrap; }
td.bar { min-width: 6rem; width: 40%; vertical-align: middle; }
td.c { overflow-wrap: anywhere; font-size: .9rem; }
#fleet thead th { position: sticky; top: 0; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
.filters { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; align-items: end; margin: .6rem 0; padding: .7rem 1rem; border: 1px solid var(--line);
  border-radius: .4rem; background: var(--raised); }
.filters[hidden] { display: none; }
.filters p { margin: 0; }
.filters label { display: block; font-size: .85rem; color: var(--quiet); }
input, select { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--quiet); border-radius: .3rem;
  padding: .3rem .6rem; max-width: 100%; }

.causes { padding: 0; margin: 0; list-style: none; display: grid; gap: .8rem; }
.causes > li { padding: .8rem 1rem; border: 1px solid var(--line); border-left: 5px solid var(--edge); border-radius: .4rem; }
.causes > .FAIL { border-left-color: var(--fail); } .causes > .WARN { border-left-color: var(--warn); } .causes > .INFO { border-left-color: var(--info); }
.causes .head { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; }
.causes ul { margin: .2rem 0; padding-left: 1.2rem; }
.causes dl { display: grid; grid-template-columns: 5.5rem 1fr; gap: .2rem .6rem; margin: .5rem 0 0; }
.causes dt { color: var(--quiet); } .causes dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
.causes dd p { margin: 0; }
details { margin: .4rem 0; } summary { cursor: pointer; width: fit-content; }
.members { columns: 16rem; column-gap: 2rem; padding-left: 1.2rem; }
.members li { overflow-wrap: anywhere; }
.well { padding: .8rem 1rem; border-left: 5px solid var(--pass); background: var(--raised); border-radius: .4rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media (max-width: 64rem) { .wide { overflow-x: auto; } }
@media (max-width: 40rem) { body { padding: 1rem; } .causes dl { grid-template-columns: 1fr; } }

@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root {
    color-scheme: light;
    --ground: #ffffff; --text: #000000; --quiet: #444444; --line: #bbbbbb; --raised: #ffffff; --link: #000000;
    --none: #d5d8dc; --pass: #9be3ac; --info: #fff3a8; --warn: #ffc846; --fail: #f28b82; --on-state: #16191d; --edge: #777777;
    --serial: #2f7ec4; --tls: #6bb0e6;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .filters, .skip { display: none; }
  .wide, figure { overflow: visible; }
  #fleet thead th { position: static; }
  h2 { break-after: avoid; }
  thead { display: table-header-group; }
  tr, figure, .causes > li, .cards li { break-inside: avoid; }
}
"""

# Without it the table is there all the same, in the order of names. It reads the page alone and asks for nothing.
SCRIPT = """
(function () {
  'use strict';
  var table = document.getElementById('fleet');
  var body = table && table.tBodies[0];
  if (!body || !body.rows.length) { return; }
  var rows = Array.prototype.slice.call(body.rows);
  var order = new Intl.Collator('en', { numeric: true });
  var ranks = { FAIL: 0, WARN: 1, INFO: 2, PASS: 3 };

  function value(row, column) { return row.cells[column].textContent; }

  function compare(kind, column) {
    return function (one, other) {
      var a = value(one, column), b = value(other, column);
      if (kind === 'state') { return ranks[a] - ranks[b]; }
      // What has no value comes last.
      if (a === '\\u2013' || b === '\\u2013') { return (a === '\\u2013') - (b === '\\u2013'); }
      if (kind === 'number') { return a.replace(/,/g, '') - b.replace(/,/g, ''); }
      return order.compare(a, b);
    };
  }

  function sortBy(head) {
    var column = head.cellIndex, kind = head.dataset.sort;
    var turned = head.getAttribute('aria-sort') === 'ascending';
    Array.prototype.forEach.call(head.parentNode.cells, function (cell) { cell.removeAttribute('aria-sort'); });
    head.setAttribute('aria-sort', turned ? 'descending' : 'ascending');
    rows.sort(compare(kind, column));
    var all = document.createDocumentFragment();
    (turned ? rows.slice().reverse() : rows).forEach(function (row) { all.appendChild(row); });
    body.appendChild(all);
  }

  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head) {
    var button = document.createElement('button');
    button.type = 'button';
    button.textContent = head.textContent;
    head.textContent = '';
    head.appendChild(button);
    button.addEventListener('click', function () { sortBy(head); });
  });

  var text = document.getElementById('text'), only = document.getElementById('only');
  var shown = document.getElementById('shown');
  var words = rows.map(function (row) { return (row.textContent + ' ' + row.cells[0].title).toLowerCase(); });
  var of = new Map(rows.map(function (row, number) { return [row, words[number]]; }));

  function filter() {
    var wanted = text.value.trim().toLowerCase(), tag = only.value, count = 0;
    rows.forEach(function (row) {
      var fits = (!wanted || of.get(row).indexOf(wanted) >= 0) && (!tag || (' ' + row.className + ' ').indexOf(' ' + tag + ' ') >= 0);
      row.hidden = !fits;
      count += fits;
    });
    shown.textContent = count.toLocaleString('en') + ' of ' + rows.length.toLocaleString('en') + ' shown';
  }

  var timer;
  text.addEventListener('input', function () { clearTimeout(timer); timer = setTimeout(filter, 150); });
  only.addEventListener('change', filter);
  document.getElementById('filters').hidden = false;
  filter();

  window.addEventListener('beforeprint', function () {
    Array.prototype.forEach.call(document.querySelectorAll('details.numbers'), function (one) { one.open = true; });
  });
}());
"""
