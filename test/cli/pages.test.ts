/** The command that a page shows answers what the page answers. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import * as Evidence from "../../src/Evidence.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import * as Cli from "../support/cli.js"
import { pages, seed, services } from "../support/operator.js"

Cli.setup()

/** The words of a command, as a shell reads them. */
const wordsOf = (command: string): ReadonlyArray<string> =>
  execFileSync("bash", ["-c", `printf '%s\\0' ${command}`], { encoding: "utf8" })
    .split("\0")
    .slice(1, -1)

const unescaped = (html: string): string =>
  html.replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&")

const commandsOf = (body: string): ReadonlyArray<string> =>
  [...body.matchAll(/<p class="cli"><code>(.*?)<\/code>/gs)].map(([, text = ""]) => unescaped(text))

/** Strings under a name, anywhere in a document. */
const under = (document: unknown, name: string): ReadonlyArray<string> =>
  typeof document !== "object" || document === null
    ? []
    : Object.entries(document).flatMap(([key, value]) =>
        key === name && (typeof value === "string" || typeof value === "number") ? [String(value)] : under(value, name)
      )

const items = (document: unknown): ReadonlyArray<unknown> =>
  typeof document === "object" && document !== null && "items" in document && Array.isArray(document.items)
    ? document.items
    : []

const idsOf = (document: unknown): ReadonlyArray<string> =>
  items(document).flatMap((item) => {
    const { id } = item as { readonly id?: unknown }
    return typeof id === "string" ? [id] : []
  })

const rowsOf = (body: string): ReadonlyArray<string> =>
  [...body.matchAll(/<(?:tr|article)[^>]* id="c(\d+)"/g)].map(([, id = ""]) => id)

it.layer(TestDatabase.layer)("a page", (it) => {
  it.scoped("shows commands that answer what the page answers", () =>
    Effect.gen(function* () {
      const { url } = yield* TestDatabase.TestDatabase
      const { refunded } = yield* seed
      yield* Effect.gen(function* () {
        yield* Evidence.derive("trigger_coverage", { reference: "production" })
        yield* ExportJobs.queue({ format: "csv", filter: { table: "invoices" } })
      }).pipe(Effect.provide(yield* services))
      const ask = yield* pages()
      const answersOf = (path: string) =>
        Effect.gen(function* () {
          const { body } = yield* ask(`/audit${path}`)
          const commands = commandsOf(body)
          expect([path, commands.length > 0]).toStrictEqual([path, true])
          const answers: Array<unknown> = []
          for (const command of commands) {
            const { code, stderr, stdout } = yield* Cli.run([...wordsOf(command), "--json"], { url })
            expect([command, code === 0 || /coverage|policy/.test(command), stderr]).toStrictEqual([command, true, ""])
            answers.push(JSON.parse(stdout))
          }
          return { answers, body, commands }
        })

      // Lists of changes: the same changes in the same order.
      for (const path of [
        "/timeline",
        "/timeline?table=invoices&op=update&since=7d",
        "/timeline?action=invoice.refunded"
      ]) {
        const { answers, body } = yield* answersOf(path)
        expect([path, rowsOf(body)]).toStrictEqual([path, idsOf(answers[0])])
        expect(rowsOf(body).length).toBeGreaterThan(0)
      }
      const incident = yield* answersOf(`/transactions/${refunded}`)
      expect([...rowsOf(incident.body)].sort()).toStrictEqual(
        items((incident.answers[0] as { readonly changes: unknown }).changes)
          .flatMap((diff) => under(diff, "id").slice(0, 1))
          .sort()
      )
      for (const path of ["/requests/r-1", "/correlations/req-9f2c", "/actors/user/42"]) {
        const { answers, body } = yield* answersOf(path)
        const { actions, changes } = answers[0] as { readonly actions: unknown; readonly changes: unknown }
        expect([path, rowsOf(body)]).toStrictEqual([path, idsOf(changes)])
        for (const name of items(actions).flatMap((action) => under(action, "name"))) {
          expect(body).toContain(name)
        }
      }

      // One row: its history, and how it stood.
      const row = yield* answersOf("/rows/public.invoices/2041")
      const [asOf, history] = [
        row.answers[row.commands.findIndex((command) => command.startsWith("threadline as-of"))],
        row.answers[row.commands.findIndex((command) => command.startsWith("threadline history"))]
      ]
      expect(rowsOf(row.body)).toStrictEqual(idsOf(history))
      expect(asOf).toMatchObject({ answer: "Present", row: { note: "by hand", state: "refunded" } })
      expect(row.body).toContain("by hand")

      const home = yield* answersOf("/")
      const recent = items(home.answers[0]).flatMap((item) => under(item, "id"))
      expect(recent.some((id) => home.body.includes(`/audit/transactions/${id}"`))).toBe(true)
      const actions = yield* answersOf("/actions?since=all")
      expect(actions.body.match(/<tr>/g)?.length).toBe(items(actions.answers[0]).length + 1)

      // The governance screens name what their commands name.
      for (const [path, name] of [
        ["/coverage", "table"],
        ["/policy/redaction", "table"],
        ["/evidence", "verdict"],
        ["/evidence?subject=trigger_coverage", "reference"],
        ["/exports", "id"],
        ["/policy/retention", "id"]
      ] as const) {
        const { answers, body } = yield* answersOf(path)
        for (const text of answers.flatMap((answer) => under(answer, name))) {
          expect([path, text, body.includes(text.replace(/^public\./, ""))]).toStrictEqual([path, text, true])
        }
      }
    })
  )
})
