import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { unsafeParse } from "../../src/internal/core/json.js"
import * as Feed from "../../src/Feed.js"
import * as Json from "../../src/Json.js"
import { clientOf } from "../harness/client.js"
import * as Cli from "../support/cli.js"

Cli.setup()

const host = Layer.scoped(
  Cli.Host,
  Effect.gen(function* () {
    const made = yield* Cli.makeHost(
      "create table invoices (id bigint primary key, total numeric); create table notes (id int primary key)",
      "invoices",
      "notes"
    )
    yield* made.query("insert into invoices values (9007199254740993, 1.10)")
    yield* made.query("insert into notes values (1)")
    yield* made.query("update invoices set total = 2.50")
    return made
  })
)

it.layer(host, { timeout: 300_000 })("threadline feed", (it) => {
  describe("with its output", () => {
    it.effect("prints one document, exact, and goes on from its checkpoint", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const output = yield* Cli.text(["feed", "--limit", "2", "--json"], { url })
        const batch = Schema.decodeSync(Json.fromText(Feed.Batch))(output)
        expect(`${Json.stringify(batch)}\n`).toBe(`${output.trimEnd()}\n`)
        expect(output.trimEnd().split("\n")).toHaveLength(1)
        expect(output).toContain(`"id":9007199254740993`)
        expect(output).toContain(`"total":1.10`)
        const first = JSON.parse(output)
        expect(first).toMatchObject({ items: [{ op: "insert" }, { tableName: "notes" }], caughtUp: false })
        const next = yield* Cli.json(["feed", "--checkpoint", String(first.checkpoint)], { url })
        expect(next).toMatchObject({ items: [{ op: "update" }], checkpoint: expect.any(String), caughtUp: true })
      })
    )

    it.effect("prints one change a line and the checkpoint last", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const output = yield* Cli.text(["feed", "--ndjson", "--table", "invoices"], { url })
        const lines = output
          .trimEnd()
          .split("\n")
          .map((line) => unsafeParse(line))
        expect(lines).toMatchObject([{ op: "insert" }, { op: "update" }, { checkpoint: expect.any(String) }])
      })
    )

    it.effect("prints a table for people, and how to go on", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const allText = yield* Cli.text(["feed"], { url })
        expect(allText).toContain("notes 1")
        expect(allText).toContain("That is all for now.\nGo on: --checkpoint ")
        const some = yield* Cli.text(["feed", "--limit", "1"], { url })
        expect(some).toContain("There is more.")
        expect(yield* Cli.text(["feed", "--from", "now"], { url })).toMatch(
          /^That is all for now\.\nGo on: --checkpoint \S+\n$/
        )
      })
    )
  })

  it.effect("refuses what is wrong whatever the database holds before it asks one", () =>
    Cli.checkEach(
      [
        [["--limit", "0"], /--limit is a whole number from 1 to 10000/],
        [["--limit", "x"], /--limit is a whole number/],
        [["--from", "yesterday"], /--from is one of beginning, now/],
        [["--checkpoint", "nonsense"], /--checkpoint: is not a checkpoint of a feed/],
        [["--table", "a.b.c"], /--table: /],
        [["--json", "--ndjson"], /--json prints one document/],
        [["--json", "--follow"], /--json prints one document/]
      ] as const,
      ([args, sentence]) =>
        Effect.map(Cli.run(["feed", ...args], { url: "postgres://127.0.0.1:1/nowhere" }), (outcome) =>
          expect(outcome).toEqual(Cli.refusal(2, sentence))
        )
    )
  )

  it.effect("ends with code 1 if nobody knows the table, from whichever end", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      for (const args of [[], ["--json"], ["--from", "now"], ["--follow", "--ndjson"], ["--table", "notes"]]) {
        expect(yield* Cli.run(["feed", "--table", "nosuch", ...args], { url })).toEqual(
          Cli.refusal(1, "table public.nosuch is not known here")
        )
      }
    })
  )

  it.effect(
    "ends with code 3 if the database cannot be reached, and with code 2 if the checkpoint is of another database",
    () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        expect(yield* Cli.run(["feed"], { url: "postgres://127.0.0.1:1/nowhere" })).toMatchObject({
          code: 3,
          stdout: ""
        })
        const { checkpoint } = yield* Cli.json(["feed", "--limit", "1"], { url })
        const parts = Buffer.from(String(checkpoint), "base64url").toString().split(" ")
        parts[3] = "AAAAAAAAAAAA"
        const foreign = Buffer.from(parts.join(" ")).toString("base64url")
        expect(yield* Cli.run(["feed", "--checkpoint", foreign], { url })).toEqual(Cli.refusal(2, /another database/))
      })
  )
})

/** Handles all that there is, under a name. */
const consume = (url: string, name: string) =>
  Feed.consume(name, () => Effect.void).pipe(Effect.provide(Feed.layer), Effect.provide(clientOf(url)), Effect.orDie)

it.layer(host, { timeout: 300_000 })("consumers of the feed", (it) => {
  it.effect("are listed with how far behind they are, and forgotten by name", () =>
    Effect.gen(function* () {
      const { query, url } = yield* Cli.Host
      expect(yield* Cli.text(["consumers", "list"], { url })).toBe("The feed has no consumer.\n")
      expect(yield* Cli.json(["consumers", "list"], { url })).toEqual({ consumers: [] })
      yield* consume(url, "warehouse")
      yield* query("insert into notes values (77)")
      expect(yield* Cli.json(["consumers", "list"], { url })).toEqual({
        consumers: [
          {
            name: "warehouse",
            checkpoint: expect.any(String),
            updatedAt: expect.stringMatching(/^\d{4}-.*Z$/),
            lagMillis: expect.any(Number),
            leasedUntil: null
          }
        ]
      })
      expect(yield* Cli.text(["consumers", "list"], { url })).toMatch(
        /^consumer +behind by +stored \(UTC\) +held until \(UTC\)\nwarehouse +\d+\w+(?: \w+)? +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n$/
      )
      expect(yield* Cli.run(["consumers", "forget", "warehose"], { url })).toEqual(
        Cli.refusal(1, "the feed has no consumer warehose; did you mean warehouse?")
      )
      expect(yield* Cli.text(["consumers", "forget", "warehouse"], { url })).toBe(
        "The consumer warehouse is forgotten.\n"
      )
      expect(yield* Cli.run(["consumers", "forget", "warehouse", "--json"], { url })).toEqual(
        Cli.refusal(1, "the feed has no consumer warehouse")
      )
      expect(yield* Cli.run(["consumers", "forget", ""], { url })).toEqual(Cli.refusal(2, /NAME: /))
      expect(yield* Cli.run(["consumers"], { url })).toEqual(
        Cli.refusal(2, "consumers needs a command; there is list or forget")
      )
      expect(yield* Cli.run(["consumers", "list"], { url: "postgres://127.0.0.1:1/nowhere" })).toMatchObject({
        code: 3,
        stdout: ""
      })
    })
  )
})
