// Twelve flows of a person at converse.js, in Chromium without a window.
//
//     node converse.js FACTS MODULES SHOTS PICTURE
//
// FACTS: a JSON file (see World.facts in world.py); MODULES: the node_modules with converse.js and playwright-core; SHOTS: where
// screenshots go, or ""; PICTURE: a PNG to send. Each flow that passes is a line `ok SECONDS NAME`; the first that does not ends it.
"use strict";

const fs = require("fs");
const http = require("http");
const path = require("path");

const [factsFile, modules, shots, picture] = process.argv.slice(2);
const facts = JSON.parse(fs.readFileSync(factsFile, "utf8"));
const { chromium } = require(path.join(modules, "playwright-core"));
const WAIT = 30000;

const TYPES = {
  ".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".json": "application/json", ".png": "image/png",
  ".svg": "image/svg+xml", ".wasm": "application/wasm", ".woff2": "font/woff2",
};

// The page, what it has to know, and converse.js as its package has it.
function serve(request, response) {
  const name = request.url.split("?")[0];
  const answer = (type, body) => { response.writeHead(200, { "content-type": type }); response.end(body); };
  if (name === "/") return answer("text/html", fs.readFileSync(path.join(__dirname, "page.html")));
  if (name === "/facts") return answer("application/json", JSON.stringify(facts));
  const dist = path.join(modules, "converse.js", "dist");
  // It asks for its WebAssembly beside the page.
  const file = path.join(dist, path.normalize(name).replace(/^\/dist\//, "/"));
  fs.readFile(file, (error, body) => {
    if (error) { response.writeHead(404); return response.end(); }
    answer(TYPES[path.extname(file)] || "application/octet-stream", body);
  });
}

// ---- what a person does ----------------------------------------------------------------------------------------------

let page;

const words = () => page.evaluate(() => document.body.innerText.replace(/\s+/g, " "));

// Waits until all of them stand on the page.
async function see(...texts) {
  for (const text of texts) {
    try {
      await page.waitForFunction((t) => document.body.innerText.replace(/\s+/g, " ").includes(t), text, { timeout: WAIT });
    } catch {
      throw new Error(`“${text}” did not come within ${WAIT / 1000} s`);
    }
  }
}

async function shot(name) {
  if (!shots) return;
  await page.waitForTimeout(500); // moving parts come to rest
  await page.screenshot({ path: path.join(shots, `converse-${name}.png`) });
}

// Where one types in the chat that is open.
const input = () => page.locator("textarea.chat-textarea:visible").first();

async function say(text) {
  const area = input();
  await area.fill(text);
  await area.press("Enter");
}

async function dialog() {
  await page.waitForSelector(".modal.show");
  return page.locator(".modal.show").last();
}

async function closeDialog() {
  await (await dialog()).locator(".modal-footer button:has-text('Close')").click();
  await page.waitForSelector(".modal.show", { state: "detached" });
}

// The settings (the cogwheel), at one of their tabs.
async function settings(tab) {
  await page.click(".show-client-info");
  await dialog();
  await page.click(`#${tab}-tab`);
}

async function listCommands(address) {
  await page.fill("converse-adhoc-commands input[name=jid]", address);
  await page.click("converse-adhoc-commands input[type=submit]");
}

const command = (part) => page.locator(`converse-adhoc-commands ${part}`);

async function enter(room, nick) {
  await page.click("converse-rooms-list .dropdown-toggle");
  await page.click(".show-add-muc-modal");
  const form = await dialog();
  await form.locator("input[name=chatroom]").fill(room);
  await form.locator("input[name=nickname]").fill(nick);
  await form.locator("input[type=submit]").click();
}

// ---- the flows -------------------------------------------------------------------------------------------------------

async function discoverTheGateway() {
  await settings("server");
  await see("email.localhost", "irc.localhost", "sms.localhost");
  await page.click(".disco-items a:has-text('email.localhost')");
  await see("Name: Email", "Category: gateway");
  await shot("discover");
}

async function register() {
  await page.click("#commands-tab");
  await listCommands("email.localhost");
  await page.click("a[data-command-node=register]");
  await see("Your name before the @");
  await command("input[name=alias]").fill("bob");
  await command("input[name=name]").fill("Bob Builder");
  await command("input[data-action=complete]").scrollIntoViewIfNeeded();
  await shot("register");
  await command("input[data-action=complete]").click();
  await see("Your mail address is bob@email.localhost.");
}

async function seeCommandsAndRunOne() {
  await listCommands("email.localhost");
  await see("Today's usage and limits", "Contacts: list, add, rename, block", "Delete my data");
  await page.click("a[data-command-node=usage]");
  await see("The limits start anew in", "Mails 0 500");
  await page.locator("text=recipients").scrollIntoViewIfNeeded();
  await shot("commands");
  await closeDialog();
}

async function addAContactByItsForeignAddress() {
  await page.click(".dropdown--contacts .dropdown-toggle");
  await page.click("text=Add a contact");
  const form = await dialog();
  await form.locator("input[name=jid]").fill(facts.contact);
  await form.locator("input[name=name]").fill("Carol");
  await form.locator("button[type=submit]").click();
  await see("Contact added successfully");
  await page.locator("converse-toast button").first().click();
}

async function seePresence() {
  const carol = `converse-roster li.online a[data-jid="${facts.contact.replace("\\", "\\\\")}"]`;
  await page.waitForSelector(carol, { timeout: WAIT }).catch(() => { throw new Error("Carol is not shown as online"); });
  await page.click(carol);
}

async function sendAndGetAText() {
  await say("Hello Carol");
  await see("You said: Hello Carol");
}

// How many pictures are shown, of how many pixels.
const pictures = () => page.$$eval("converse-chats img.chat-image", (all) => all.map((i) => `${i.naturalWidth}x${i.naturalHeight}`));

async function seePicture(size) {
  const until = Date.now() + WAIT;
  while (!(await pictures()).includes(size)) {
    if (Date.now() > until) throw new Error(`no picture of ${size} is shown, but ${JSON.stringify(await pictures())}`);
    await page.waitForTimeout(100);
  }
}

async function getAPicture() {
  await say("Please send me a picture");
  await see("You said: Please send me a picture");
  await seePicture("240x150");
}

async function sendAPicture() {
  await page.locator("input[type=file]").first().setInputFiles(picture);
  await see(`[shore.png, image/png, ${fs.statSync(picture).size} bytes]`);
  await seePicture("120x90");
  await shot("pictures");
}

async function joinARoomAndSeeOccupants() {
  await enter(facts.room, "bob");
  await see("2 Participants", "erin", "Where the messages cross");
  await say("Hello, room");
  await see("erin", "You said: Hello, room");
}

async function changeNick() {
  await say("/nick bobby");
  await see("Your nickname has been changed to bobby");
}

async function correctAMessage() {
  await say("The ship leaves at nne");
  await see("You said: The ship leaves at nne");
  await input().press("ArrowUp");
  await page.waitForSelector(".chat-textarea.correcting", { timeout: WAIT });
  await say("The ship leaves at nine");
  await see("You said: * The ship leaves at nine");
  if ((await words()).includes("bobby The ship leaves at nne")) throw new Error("the message is not corrected here");
  await shot("room");
}

async function readHistoryAfterRejoining() {
  await page.click("converse-muc-heading .dropdown-toggle");
  await page.click("converse-muc-heading .close-chatbox-button");
  await (await dialog()).locator(".btn-primary").click();
  await page.waitForSelector("converse-muc", { state: "detached" });
  await enter(facts.room, "bob");
  await see("2 Participants", "Hello, room", "You said: Hello, room", "The ship leaves at nne", "* The ship leaves at nine");
  await page.waitForTimeout(1000); // for copies, if there are any
  const shown = (await words()).split("You said: Hello, room").length - 1;
  if (shown !== 1) throw new Error(`a line of the history is shown ${shown} times`);
  await shot("history");
}

const FLOWS = [
  discoverTheGateway, register, seeCommandsAndRunOne, addAContactByItsForeignAddress, seePresence, sendAndGetAText,
  getAPicture, sendAPicture, joinARoomAndSeeOccupants, changeNick, correctAMessage, readHistoryAfterRejoining,
];

const title = (flow) => flow.name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

async function main() {
  const server = http.createServer(serve);
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const here = `http://127.0.0.1:${server.address().port}/`;
  // Root cannot use the sandbox.
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args });
  let flow = { name: "logIn" };
  try {
    page = await browser.newPage({ viewport: { width: 1000, height: 720 }, timezoneId: "UTC" });
    page.setDefaultTimeout(WAIT);
    // Nothing from outside this machine.
    await page.route((url) => url.hostname !== "127.0.0.1", (route) => route.abort());
    await page.goto(here);
    await page.waitForSelector("converse-user-profile");
    await see("I am online");
    for (flow of FLOWS) {
      const begun = Date.now();
      await flow();
      console.log(`ok ${((Date.now() - begun) / 1000).toFixed(1)} ${title(flow)}`);
    }
    return 0;
  } catch (error) {
    await shot("failed").catch(() => {});
    const text = page ? await page.evaluate(() => document.body.innerText).catch(() => "") : "";
    console.log(`${title(flow)}: ${String(error.message || error).split("\n")[0]}. The page:\n${text}`);
    return 1;
  } finally {
    await browser.close();
    server.close();
  }
}

main().then((code) => process.exit(code), (error) => { console.log(String(error)); process.exit(1); });
