// walk.mjs BROWSER URL PGAPP PICTURES walks through the site and ends with 1 if anything
// is wrong. The walk obeys the site's Content-Security-Policy; axe-core can't, so it
// looks at each page in a second window.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const [executablePath, base, pgapp, pictures] = process.argv.slice(2);
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const run = promisify(execFile);
const wrong = [];
const views = [['light', 1280, 800], ['dark', 390, 844], ['dark', 1280, 800], ['light', 390, 844]];

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });

// look takes a picture of the page, and checks its width and its accessibility.
async function look(page, name, view) {
  const [colorScheme, width, height] = view;
  const where = `${name}, ${colorScheme}, ${width}px`;
  await page.screenshot({ path: `${pictures}/${name}-${colorScheme}-${width}.png` });
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (over > 0) wrong.push(`${where}: ${over} px too wide`);
  const context = await browser.newContext({ colorScheme, viewport: { width, height }, bypassCSP: true, storageState: await page.context().storageState() });
  const second = await context.newPage();
  await second.goto(page.url());
  await second.evaluate(axe);
  // The frame with the members is loaded again and again, and is a page of the walk.
  const { violations } = await second.evaluate(() => axe.run(document, { iframes: false }));
  for (const v of violations) wrong.push(`${where}: ${v.id}: ${v.help}: ${v.nodes[0].target}`);
  await context.close();
}

// walk is a customer's way. Between the opening of the form and its sending, meanwhile is
// called.
async function walk(view, meanwhile) {
  const [colorScheme, width, height] = view;
  const context = await browser.newContext({ colorScheme, viewport: { width, height } });
  const page = await context.newPage();
  page.setDefaultTimeout(90_000);
  page.on('console', (m) => { if (m.type() === 'error' && !m.text().includes('404')) wrong.push(`${page.url()}: ${m.text()}`); });
  await page.goto(base);
  await look(page, 'home', view);
  await page.fill('#q', 'court');
  await page.press('#q', 'Enter');
  await page.waitForURL(/search/);
  await look(page, 'search', view);
  await page.click('ul.films a');
  await page.waitForURL(/films/);
  await page.click('text=Sign in to rent');
  await page.waitForURL(/signin/);
  await look(page, 'signin', view);
  await page.click('.customers button >> nth=3');
  await page.waitForURL(/films/);
  await look(page, 'film', view);
  await meanwhile(page);
  await page.waitForSelector('text=Rented:');
  await look(page, 'rented', view);
  await page.reload();
  if (await page.locator('.rentals .out').count() !== 1) wrong.push('a second click or a reload rented again');
  await page.click('.rentals .out button:has-text("Return")');
  await page.waitForSelector('text=Returned:');
  await look(page, 'returned', view);
  await page.goto(new URL('/films/99999', base).href);
  await look(page, 'missing', view);
  await page.goto(new URL('/members?live=off', base).href);
  await look(page, 'members', view);
  await context.close();
}

// A second click must not rent a second copy.
const rent = (page) => page.dblclick('.stock button >> nth=0');
await walk(views[0], async (page) => {
  // The form is sent while the primary moves.
  await Promise.all([run(pgapp, ['switchover', '-q']), rent(page)]);
});
for (const view of views.slice(1)) await walk(view, rent);
await browser.close();
for (const w of new Set(wrong)) console.error(w);
console.log(`storefront: ${views.length} walks, ${wrong.length} faults, pictures in ${pictures}`);
process.exit(wrong.length > 0 ? 1 : 0);
