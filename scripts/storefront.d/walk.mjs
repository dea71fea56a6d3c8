// walk.mjs BROWSER URL PGAPP REPORT PICTURES walks through the site and the report of a
// bench, and ends with 1 if anything is wrong. The walk obeys the pages'
// Content-Security-Policy; axe-core can't, so it looks at each page in a second window.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const [executablePath, base, pgapp, report, pictures] = process.argv.slice(2);
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const run = promisify(execFile);
const wrong = [];
const desktop = { width: 1280, height: 800 };
const phone = { width: 390, height: 844 };
const views = [['light', desktop], ['dark', desktop], ['light', phone], ['dark', phone]];

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });

async function open(options) {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(90_000);
  page.on('console', (m) => { if (m.type() === 'error' && !m.text().includes('404')) wrong.push(`${page.url()}: ${m.text()}`); });
  return page;
}

// look takes a picture of the page at each width and in each colour scheme, and checks its
// width and its accessibility.
async function look(page, name, fullPage = false) {
  const before = page.viewportSize();
  const context = await browser.newContext({ bypassCSP: true, storageState: await page.context().storageState() });
  const second = await context.newPage();
  await second.goto(page.url());
  await second.evaluate(axe);
  for (const [colorScheme, size] of views) {
    const where = `${name}, ${colorScheme}, ${size.width}px`;
    for (const p of [page, second]) {
      await p.setViewportSize(size);
      await p.emulateMedia({ colorScheme });
    }
    await page.screenshot({ path: `${pictures}/${name}-${colorScheme}-${size.width}.png`, fullPage });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (over > 0) wrong.push(`${where}: ${over} px too wide`);
    // The frame with the members is loaded again and again, and is a page of the walk.
    const { violations } = await second.evaluate(() => axe.run(document, { iframes: false }));
    for (const v of violations) wrong.push(`${where}: ${v.id}: ${v.help}: ${v.nodes[0].target}`);
  }
  await context.close();
  await page.setViewportSize(before);
  await page.emulateMedia({ colorScheme: null });
}

// walk is a customer's way. It calls see with each page, and rent in the film's page.
async function walk(options, see, rent) {
  const page = await open(options);
  await page.goto(base);
  await see(page, 'home');
  await page.fill('#q', 'court');
  await page.press('#q', 'Enter');
  await page.waitForURL(/search/);
  await see(page, 'search');
  await page.click('ul.films a');
  await page.waitForURL(/films/);
  await page.click('text=Sign in to rent');
  await page.waitForURL(/signin/);
  await see(page, 'signin');
  await page.click('.customers button >> nth=3');
  await page.waitForURL(/films/);
  await see(page, 'film');
  await rent(page);
  await page.waitForSelector('text=Rented:');
  await see(page, 'rented');
  await page.reload();
  if (await page.locator('.rentals .out').count() !== 1) wrong.push('a second click or a reload rented again');
  await page.click('.rentals .out button:has-text("Return")');
  await page.waitForSelector('text=Returned:');
  await see(page, 'returned');
  await page.goto(new URL('/films/99999', base).href);
  await see(page, 'missing');
  await page.goto(new URL('/members?live=off', base).href);
  await see(page, 'members');
  await page.context().close();
}

// A second click must not rent a second copy.
const rent = (page) => page.dblclick('.stock button >> nth=0');

const sql = async (text) => (await run(pgapp, ['psql', '--', '-XAtc', text])).stdout.trim();
const primary = async () => JSON.parse((await run(pgapp, ['ps', '-o', 'json'])).stdout).primary;

async function until(what, holds) {
  for (const end = Date.now() + 90_000; !(await holds());) {
    if (Date.now() > end) throw new Error(`not in 90 s: ${what}`);
  }
}

// rentAcross has the primary move while the rental's transaction is under way: it waits for
// a lock that ends with the old primary's sessions.
async function rentAcross(page) {
  const locks = (granted) => async () => await sql(`SELECT count(*) > 0 FROM pg_locks WHERE relation = 'rental'::regclass AND ${granted}`) === 't';
  const old = await primary();
  const holder = sql('BEGIN; LOCK TABLE rental IN EXCLUSIVE MODE; SELECT pg_sleep(600)').catch(() => {});
  await until('the lock is held', locks("granted AND mode = 'ExclusiveLock'"));
  const sent = rent(page);
  await until('the rental waits for the lock', locks('NOT granted'));
  await run(pgapp, ['switchover', '-q']);
  await Promise.all([sent, holder, page.waitForSelector('text=Rented:')]);
  const now = await primary();
  const text = await page.evaluate(() => document.body.innerText.replace(/\s+/g, ' '));
  if (now === old || !text.includes(`rent: ${now}, primary`)) wrong.push(`the rental across the move from ${old} to ${now} says: ${text.slice(0, 400)}`);
}

await walk({ viewport: phone, isMobile: true, hasTouch: true, colorScheme: 'dark' }, async () => {}, rent);
await walk({ viewport: desktop }, look, rentAcross);

const page = await open({ viewport: desktop });
await page.goto(pathToFileURL(`${report}/report.html`).href);
await look(page, 'report', true);
const plots = page.locator('figure:has(svg)');
const count = await plots.count();
if (count === 0) wrong.push('the report has no plot');
for (let n = 0; n < count; n++) {
  const box = await plots.nth(n).locator('svg').boundingBox();
  if (!box || box.width < 200 || box.height < 80) wrong.push(`plot ${n + 1} of the report is ${box?.width} by ${box?.height} px`);
  await plots.nth(n).screenshot({ path: `${pictures}/plot-${n + 1}.png` });
}
const pdf = readFileSync(`${report}/report.pdf`, 'latin1');
if (!pdf.startsWith('%PDF-') || !pdf.trimEnd().endsWith('%%EOF')) wrong.push('report.pdf is no whole PDF');

await browser.close();
for (const w of new Set(wrong)) console.error(w);
console.log(`storefront: ${wrong.length} faults, ${count} plots in the report, pictures in ${pictures}`);
process.exit(wrong.length > 0 ? 1 : 0);
