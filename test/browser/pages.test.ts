/** Every screen in a real Chromium: with and without a script, narrow to wide, dark and light, and by keyboard alone. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import type { Page } from "playwright-core"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as Evidence from "../../src/Evidence.js"
import * as OperatorSurface from "../../src/OperatorSurface.js"
import * as SavedViews from "../../src/SavedViews.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { browser, complaintsOf, serving, within } from "../support/browser.js"
import { executable } from "../support/chromium.js"
import { everything, hostile, seed, services } from "../support/operator.js"

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")

/** Rows that are hard to show: 60 columns, a megabyte of text, deep documents, many changes at once, names from right to left. */
const ugly = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const names = Array.from({ length: 58 }, (_, index) => `column_number_${index}_with_a_long_name`)
  yield* sql.unsafe(`
    create table wide (id int primary key, ${names.map((name) => `${name} text default 'value of ${name}'`).join(", ")});
    create table "רשומות <b>" (account text, person int, "שם" text, doc jsonb, big text, primary key (account, person))`)
  yield* Capture.apply([{ table: "wide" }, { table: '"רשומות <b>"' }])
  yield* Audit.transaction(sql`insert into wide (id) select g from generate_series(1, 200) g`, {
    action: "bulk.import",
    actor: everything.viewer
  })
  yield* Audit.transaction(
    sql.unsafe(
      `update wide set ${names
        .slice(0, 30)
        .map((name) => `${name} = 'changed'`)
        .join(", ")} where id < 60`
    ),
    {
      action: "bulk.changed",
      actor: everything.viewer
    }
  )
  yield* sql`
    insert into "רשומות <b>" values ('acme/..', 1, 'שלום עולם', '{"a":{"b":{"c":{"d":{"e":[1,2,3]}}}}}', ${"lorem ipsum ".repeat(90_000)})`
  yield* sql`update "רשומות <b>" set doc = '{"a":{"b":{"c":{"d":{"e":[1,9,3],"f":null}}}}}', big = big || ${hostile}`
})

/** A word that no line can hold, of the length that ids and names may have. */
const word = "w".repeat(256)

const wordyTable = "t".repeat(63)

/** Words that no line can hold, wherever a person or a program gives a name. */
const wordy = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const column = "c".repeat(63)
  yield* sql.unsafe(`create table ${wordyTable} (id text primary key, ${column} text, doc jsonb)`)
  yield* Capture.apply([{ table: wordyTable }])
  const options = {
    action: { name: word, reason: word, comment: word, verb: word, category: word, data: { [word]: word } },
    actor: Actor.user(word, { label: word, impersonator: Actor.admin(word, { label: word }) }),
    correlationId: word,
    requestId: word,
    jobId: word,
    source: word,
    meta: { [word]: word }
  }
  const inserted = yield* Audit.transaction(
    sql`insert into ${sql(wordyTable)} values (${word}, ${word}, ${JSON.stringify({ [word]: word })})`,
    options
  )
  yield* Audit.transaction(sql`update ${sql(wordyTable)} set ${sql(column)} = ${`${word}x`}, doc = '{}'`, options)
  yield* Audit.record(word, { status: "error", actor: options.actor, correlationId: word })
  yield* SavedViews.save({ owner: everything.viewer, name: word, filter: { action: word } })
  yield* Evidence.exportDelivery({
    reference: word,
    status: "attention",
    detail: { format: "csv", count: 3, bytes: 100, sha256: "ab", recipient: word },
    actor: options.actor
  })
  return yield* Effect.orDie(inserted.transactionId)
})

/** Views with names that are hard to show, and evidence of both kinds. */
const governed = Effect.gen(function* () {
  const owner = everything.viewer
  yield* SavedViews.save({ owner, name: "Invoices", filter: { table: "invoices" }, since: "7d" })
  for (const name of [hostile, "a name of very many letters ".repeat(9).trim(), "שלום עולם"]) {
    yield* SavedViews.save({ owner, name, filter: { op: "delete" } })
  }
  yield* Evidence.derive("trigger_coverage", { reference: "production" })
  yield* Evidence.exportDelivery({
    reference: hostile,
    status: "attention",
    detail: { format: "csv", count: 3, bytes: 100, sha256: "ab", recipient: hostile },
    actor: owner
  })
})

const pagesOf = (ids: {
  readonly refunded: string
  readonly other: string
  readonly wordy: string
}): ReadonlyArray<string> => [
  "/",
  `/?q=${word}`,
  `/timeline?table=${wordyTable}&action=${word}&since=7d`,
  `/transactions/${ids.wordy}`,
  `/rows/public.${wordyTable}/${word}`,
  `/requests/${word}`,
  `/actors/user/${word}`,
  `/actions?action=${word}`,
  `/evidence?reference=${word}`,
  "/?q=nothing-like-this",
  "/timeline",
  "/timeline?table=invoices&op=delete",
  "/timeline?op=drop",
  `/transactions/${ids.refunded}`,
  `/transactions/${ids.other}`,
  "/rows/public.invoices/2041",
  "/rows/public.invoices/1",
  "/rows/public.wide/5",
  `/rows?table=${encodeURIComponent('public."רשומות <b>"')}&key=${encodeURIComponent('["acme/..","1"]')}`,
  "/rows/public.invoices/999",
  "/requests/r-1",
  "/correlations/req-9f2c",
  "/actors/user/42",
  "/actions",
  "/coverage",
  "/policy/redaction",
  "/policy/retention",
  "/evidence",
  "/evidence?subject=trigger_coverage",
  "/exports",
  "/_design"
]

interface Look {
  readonly width: number
  readonly colorScheme: "light" | "dark"
  readonly javaScriptEnabled: boolean
}

const looks: ReadonlyArray<Look> = [
  { width: 360, colorScheme: "light", javaScriptEnabled: true },
  { width: 360, colorScheme: "dark", javaScriptEnabled: false },
  { width: 1280, colorScheme: "dark", javaScriptEnabled: true },
  { width: 1280, colorScheme: "light", javaScriptEnabled: false },
  { width: 1920, colorScheme: "light", javaScriptEnabled: true }
]

const nameOf = ({ colorScheme, javaScriptEnabled, width }: Look): string =>
  `${width} ${colorScheme} ${javaScriptEnabled ? "with" : "without"} a script`

interface Violation {
  readonly id: string
  readonly nodes: ReadonlyArray<{ readonly html: string; readonly failureSummary?: string }>
}

const violationsOf = async (page: Page): Promise<ReadonlyArray<string>> => {
  await page.evaluate(axe)
  const { violations } = await page.evaluate<{ readonly violations: ReadonlyArray<Violation> }>(
    `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`
  )
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 200)} ${nodes[0]?.failureSummary ?? ""}`)
}

const served = Effect.gen(function* () {
  const layer = yield* services
  const ids = yield* seed
  yield* Effect.provide(ugly, layer)
  const wordyTransaction = yield* Effect.provide(wordy, layer)
  yield* Effect.provide(governed, layer)
  const { handler } = yield* Effect.acquireRelease(
    Effect.sync(() =>
      OperatorSurface.toNodeHandler(layer, { authorize: () => everything, design: true, timeout: "2 minutes" })
    ),
    ({ dispose }) => Effect.promise(dispose)
  )
  return { ids: { ...ids, wordy: wordyTransaction }, base: yield* serving(handler), browser: yield* browser }
})

if (executable === undefined) {
  it.skip("there is no Chromium here (set THREADLINE_CHROMIUM, or install Debian's): the pages are not looked at", () =>
    undefined)
} else {
  it.layer(TestDatabase.layer)("in a browser", (it) => {
    it.scoped(
      "every page is whole, accessible and harmless; the main path can be walked by keyboard",
      () =>
        Effect.gen(function* () {
          const { base, browser, ids } = yield* served

          const violations: Array<string> = []
          for (const look of looks) {
            yield* Effect.promise(() =>
              within(
                browser,
                {
                  viewport: { width: look.width, height: 900 },
                  colorScheme: look.colorScheme,
                  javaScriptEnabled: look.javaScriptEnabled
                },
                async (context) => {
                  const page = await context.newPage()
                  const complaints = complaintsOf(page)
                  for (const path of pagesOf(ids)) {
                    const response = await page.goto(`${base}${path}`)
                    const at = `${nameOf(look)} ${path}`
                    expect([at, ((await response?.body())?.byteLength ?? Infinity) <= 60 * 1024]).toStrictEqual([
                      at,
                      true
                    ])
                    const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
                    expect([at, wider]).toStrictEqual([at, 0])
                    if (look.javaScriptEnabled) {
                      violations.push(...(await violationsOf(page)).map((violation) => `${at} ${violation}`))
                    }
                  }
                  expect(complaints).toStrictEqual([])
                }
              )
            )
          }

          expect(violations).toStrictEqual([])

          // By keyboard alone: the box, the row, along its rail, to a transaction, and back into a list.
          yield* Effect.promise(() =>
            within(browser, { viewport: { width: 1280, height: 900 } }, async (context) => {
              const page = await context.newPage()
              const complaints = complaintsOf(page)
              await page.goto(`${base}/`)
              await page.keyboard.type("invoices 2041")
              await page.keyboard.press("Enter")
              await page.waitForURL(/rows\/public\.invoices\/2041/)
              // The rail can be dragged: it leads to the mark where it is let go.
              const marks = page.locator("[data-rail] li a")
              const [from, to] = [await marks.last().boundingBox(), await marks.first().boundingBox()]
              const middle = (box: typeof from): readonly [number, number] => [
                (box?.x ?? 0) + (box?.width ?? 0) / 2,
                (box?.y ?? 0) + (box?.height ?? 0) / 2
              ]
              const target = new URL((await marks.first().getAttribute("href")) ?? "", page.url()).href
              await page.mouse.move(...middle(from))
              await page.mouse.down()
              await page.mouse.move(...middle(to), { steps: 6 })
              expect(await page.locator("[data-rail].drag li.here a").getAttribute("aria-label")).toBe(
                await marks.first().getAttribute("aria-label")
              )
              await page.mouse.up()
              await page.waitForURL(target)
              expect(await page.locator("[data-rail] li.here").count()).toBe(1)
              await page.goBack()
              await page.locator("[data-rail] li a").last().focus()
              await page.keyboard.press("ArrowLeft")
              await page.keyboard.press("Enter")
              await page.waitForURL(/at=/)
              expect(await page.locator("[data-rail] li.here").count()).toBe(1)
              await page.keyboard.press("j")
              expect(await page.evaluate(() => document.activeElement?.closest(".change") !== null)).toBe(true)
              await page.locator("article.change a", { hasText: "transaction" }).first().focus()
              await page.keyboard.press("Enter")
              await page.waitForURL(/transactions\/\d+/)
              await page.keyboard.press("Tab")
              expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to content")
              await page.keyboard.press("/")
              await page.keyboard.type("table:invoices op:update")
              await page.keyboard.press("Enter")
              await page.waitForURL(/timeline\?/)
              expect(await page.locator(".chip").allInnerTexts()).toHaveLength(2)
              await page.locator(".chip a").first().focus()
              await page.keyboard.press("Enter")
              await page.waitForFunction(() => document.querySelectorAll(".chip").length === 1)
              expect(await page.locator("[data-copy]:visible").count()).toBeGreaterThan(0)
              expect(complaints).toStrictEqual([])
            })
          )

          // Forms and links do all of it without a script; colours and the zone stay.
          yield* Effect.promise(() =>
            within(browser, { viewport: { width: 1280, height: 900 }, javaScriptEnabled: false }, async (context) => {
              const page = await context.newPage()
              await page.goto(`${base}/timeline?since=7d`)
              await page.locator("form.filter input[name=table]").fill("invoices")
              await page.locator("form.filter button.go").click()
              expect(new URL(page.url()).searchParams.get("table")).toBe("invoices")
              expect(await page.locator("#results tbody tr").count()).toBe(4)
              await page.locator("footer button", { hasText: "Dark" }).click()
              expect(await page.locator("html").getAttribute("data-theme")).toBe("dark")
              await page.locator("#tz").fill("Asia/Tokyo")
              await page.locator("footer button", { hasText: "Set zone" }).click()
              expect(await page.locator("th").first().innerText()).toContain("Asia/Tokyo")
              await page.locator("[data-rail], #results a").first().click()
              expect(new URL(page.url()).searchParams.get("tz")).toBe("Asia/Tokyo")
              expect(await page.locator("[data-copy]:visible").count()).toBe(0)

              // A timeline is saved under a name, opened from the start page, and deleted there.
              await page.goto(`${base}/timeline?table=members&since=7d`)
              await page.locator("summary", { hasText: "Save this view" }).click()
              await page.locator("form.act input[name=name]").fill("Members of the week")
              await page.locator("form.act button", { hasText: "Save" }).click()
              expect(new URL(page.url()).hash).toBe("#views")
              await page.locator("#views a", { hasText: "Members of the week" }).click()
              expect(new URL(page.url()).search).toBe("?table=public.members&since=7d")
              await page.goto(`${base}/`)
              await page
                .locator("#views li", { hasText: "Members of the week" })
                .locator("button", { hasText: "Delete" })
                .click()
              expect(await page.locator("#views li").count()).toBe(5)
              expect(await page.locator("#views li", { hasText: "Members of the week" }).count()).toBe(0)
            })
          )

          // On a phone what was found comes first; the filter opens where it stands, and works without a script.
          yield* Effect.promise(() =>
            within(browser, { viewport: { width: 360, height: 740 }, javaScriptEnabled: false }, async (context) => {
              const page = await context.newPage()
              await page.goto(`${base}/timeline?table=invoices&since=7d`)
              expect(((await page.locator("#results").boundingBox())?.y ?? Infinity) < 500).toBe(true)
              expect(await page.locator(".chip:visible").count()).toBe(2)
              expect(await page.locator("form.filter").isVisible()).toBe(false)
              await page.locator("summary", { hasText: /^Filter$/ }).click()
              await page.locator("form.filter select[name=op]").selectOption("update")
              await page.locator("form.filter button.go").click()
              expect(new URL(page.url()).searchParams.get("op")).toBe("update")
            })
          )

          // A page that follows shows what is committed meanwhile.
          const sql = yield* SqlClient.SqlClient
          yield* Effect.promise(() =>
            within(browser, { viewport: { width: 1280, height: 900 } }, async (context) => {
              const page = await context.newPage()
              await page.goto(`${base}/timeline?table=members&follow=on&since=7d`)
              await page.waitForFunction(() => document.querySelector("#followed")?.textContent === "Following")
              const before = await page.locator("#results tbody tr").count()
              await Effect.runPromise(
                Effect.provideService(sql`insert into members values ('acme', 8, 'guest')`, SqlClient.SqlClient, sql)
              )
              await page.waitForFunction(
                (count) => document.querySelectorAll("#results tbody tr").length === count + 1,
                before
              )
            })
          )
        }),
      300_000
    )
  })
}
