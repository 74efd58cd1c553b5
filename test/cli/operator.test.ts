/** What an operator asks first, with the command line alone. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Cli from "../support/cli.js"

Cli.setup()

/** A request that failed and was tried again, an impersonation, a context that could not be read, and a row that was deleted. */
const host = Layer.scoped(
  Cli.Host,
  Effect.gen(function* () {
    const made = yield* Cli.makeHost(
      `create table invoices (id int primary key, paid_by text, total numeric);
      create table visits (id int, day int, primary key (id, day)) partition by list (day);
      create table visits_1 partition of visits for values in (1);
      create table plain (id int primary key);
      create table rides (id int primary key, direction text, fare int, note text);
      create table rides_kept (zone text, id int primary key, start int, note text)`,
      "invoices",
      "visits",
      "rides",
      "rides_kept"
    )
    yield* made.query(`
      begin;
      select threadline.set_context('{ "actor": { "type": "job", "id": "rides" } }');
      insert into rides_kept values ('a', 2, 3, null);
      update rides_kept set note = 'late', start = 4, zone = 'b';
      commit;
      begin;
      select threadline.set_context('{
        "actor": {
          "type": "user", "id": "42", "label": "a customer with a name that is rather long",
          "impersonator": { "type": "admin", "id": "rosa@example.org", "label": "the second line of support, by night" }
        },
        "requestId": "r-1"
      }');
      insert into invoices values (1, null, 5);
      select threadline.finish('{ "action": { "name": "invoice.created" } }');
      commit;
      begin;
      select threadline.set_context('{ "actor": { "type": "user", "id": "42" }, "requestId": "r-1" }');
      select threadline.finish('{ "action": { "name": "invoice.sent", "status": "error" } }');
      commit;
      begin;
      select threadline.set_context('{ "actor": { "type": "nobody", "id": "1" }, "requestId": "r-2" }');
      update invoices set total = 6;
      commit;
      delete from invoices`)
    return made
  })
)

it.layer(host, { timeout: 300_000 })("an operator", (it) => {
  it.effect("sees everything of one request, failed actions included", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      expect(yield* Cli.json(["request", "r-1"], { url })).toMatchObject({
        actions: {
          items: [
            { name: "invoice.sent", status: "error" },
            { name: "invoice.created", status: "ok" }
          ]
        },
        transactions: { items: [{ action: { name: "invoice.created" } }] },
        changes: { items: [{ op: "insert", tableName: "invoices" }], nextCursor: null }
      })
      const human = yield* Cli.text(["request", "r-1"], { url })
      expect(human).toMatch(/^actions\n[^]*invoice… +error[^]*^transactions\n[^]*^changes\n/m)
      expect(yield* Cli.text(["request", "none"], { url })).toContain("No action.")
      expect(yield* Cli.run(["request", "x".repeat(257)], { url })).toEqual(
        Cli.refusal(2, /ID: must not exceed 256 bytes/)
      )
      expect(yield* Cli.run(["request", "r-1", "--cursor", "nonsense"], { url })).toEqual(Cli.refusal(2, /cursor/))
    })
  )

  it.effect("always sees who acted for whom, however narrow the terminal", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const env = { COLUMNS: "50" }
      for (const args of [["timeline"], ["transactions"], ["actions"], ["actor", "user", "42"], ["feed"]]) {
        const text = yield* Cli.text(args, { url, env })
        expect(text, args.join(" ")).toContain("user 42 by admin rosa@example.org")
      }
      for (const args of [
        ["history", "invoices", "1"],
        ["transaction", yield* firstTransaction]
      ]) {
        const text = (yield* Cli.text(args, { url, env })).replaceAll(/\s+/g, " ")
        expect(text, args.join(" ")).toContain(
          "user 42 (a customer with a name that is rather long) by admin rosa@example.org (the second line of support, by night)"
        )
      }
    })
  )

  it.effect("sees why a context was not recorded, beside the transactions that nobody is named for", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const text = (yield* Cli.text(["unattributed"], { url })).replaceAll(/\s+/g, " ")
      expect(text).toContain("context error")
      expect(text).toMatch(/actor/)
      expect(yield* Cli.json(["unattributed"], { url })).toMatchObject({
        items: [{ transaction: { contextError: null } }, { transaction: { contextError: expect.any(String) } }]
      })
      expect(yield* Cli.text(["unattributed", "--request-id", "none"], { url })).not.toContain("context error")
    })
  )

  it.effect("sees null of a deleted row as null", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const text = yield* Cli.text(["history", "invoices", "1", "--limit", "1"], { url })
      expect(text).toContain("delete invoices 1")
      expect(text).toContain("\n  paid_by: null\n")
    })
  )

  it.effect("is told how many transactions carry a correlation without an action", () =>
    Effect.gen(function* () {
      const { query, url } = yield* Cli.Host
      const carried = `
        begin;
        select threadline.set_context('{ "actor": { "type": "user", "id": "7" }, "correlationId": "c-1" }');
        insert into rides values (1, 'in', 1, null);
        delete from rides;
        commit;`
      yield* query(carried)
      for (const [command, sentence] of [
        [
          "timeline",
          "No change matches.\n1 transaction carries this correlation without an action: --include-capture-only"
        ],
        [
          "transactions",
          "1 transaction carries this correlation without an action: --include-capture-only shows them."
        ],
        ["actions", "1 transaction carries this correlation without an action: threadline correlation shows them."]
      ] as const) {
        const text = yield* Cli.text([command, "--correlation-id", "c-1"], { url, env: { COLUMNS: "200" } })
        expect(text).toContain(sentence)
      }
      yield* query(carried)
      expect(yield* Cli.text(["timeline", "--correlation-id", "c-1"], { url })).toContain(
        "2 transactions carry this correlation"
      )
      expect(yield* Cli.json(["timeline", "--correlation-id", "c-1"], { url })).toEqual({
        items: [],
        nextCursor: null,
        hasMore: false,
        withoutAction: { count: 2, exact: true }
      })
      for (const args of [
        ["--correlation-id", "none"],
        ["--correlation-id", "c-1", "--action", "invoice.created"],
        ["--correlation-id", "c-1", "--actor", "user:8"],
        ["--correlation-id", "c-1", "--table", "invoices"]
      ]) {
        expect(yield* Cli.text(["timeline", ...args], { url }), args.join(" ")).toBe("No change matches.\n")
      }
      expect(yield* Cli.text(["timeline", "--correlation-id", "c-1", "--include-capture-only"], { url })).toContain(
        "rides"
      )
    })
  )

  it.effect("finds actors by their labels", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      for (const label of ["rather LONG", "second line"]) {
        expect(yield* Cli.json(["timeline", "--actor-label", label], { url })).toMatchObject({
          items: [{ op: "insert", tableName: "invoices" }]
        })
        expect(yield* Cli.json(["actions", "--actor-label", label], { url })).toMatchObject({
          items: [{ name: "invoice.created" }]
        })
        expect(yield* Cli.json(["actor", "user", "--label", label], { url })).toMatchObject({
          actions: { items: [{ name: "invoice.created" }] },
          changes: { items: [{ op: "insert" }], nextCursor: null }
        })
      }
      expect(yield* Cli.json(["actor", "admin", "--label", "rather long"], { url })).toMatchObject({
        changes: { items: [] }
      })
      expect(yield* Cli.text(["timeline", "--actor-label", "100%_"], { url })).toBe("No change matches.\n")
      expect(yield* Cli.run(["actor", "user", "--label", "x".repeat(257)], { url })).toEqual(
        Cli.refusal(2, /--label: must not exceed 256 bytes/)
      )
    })
  )

  it.effect("is told that an instant is still to come", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      for (const [key, sentence] of [
        ["2", "The row as it is now:"],
        ["1", "Nothing is known of the row."]
      ] as const) {
        const text = yield* Cli.text(["as-of", "rides_kept", key, "2999-01-01T00:00:00Z"], { url })
        expect(text).toContain(`2999-01-01T00:00:00.000000Z: this instant is still to come.\n${sentence}\n`)
      }
      expect(yield* Cli.text(["as-of", "rides_kept", "2", "2020-01-01"], { url })).not.toContain("still to come")
    })
  )

  it.effect("sees fields in the order of their table, whatever the table or a column was called", () =>
    Effect.gen(function* () {
      const { query, url } = yield* Cli.Host
      const inOrder = /zone.*\n *id: 2\n *start.*\n *note/
      const last = ["rides_kept", "2"]
      expect(yield* Cli.text(["history", ...last, "--order", "oldest"], { url })).toMatch(inOrder)
      expect(yield* Cli.text(["as-of", ...last, "2999-01-01"], { url })).toMatch(inOrder)
      const { items } = yield* Cli.json(["timeline", "--table", "rides_kept", "--order", "oldest"], { url })
      const [first] = items as ReadonlyArray<{ readonly transactionId: string }>
      expect(yield* Cli.text(["transaction", String(first?.transactionId)], { url })).toMatch(inOrder)
      expect(yield* Cli.text(["timeline", "--table", "rides_kept"], { url })).toContain("set zone, start, note")
      expect(yield* Cli.text(["feed", "--table", "rides_kept"], { url, env: { COLUMNS: "200" } })).toContain(
        "set zone, start, note"
      )
      yield* query("alter table rides_kept rename column start to begun")
      yield* query(`
        begin;
        select threadline.set_context('{ "actor": { "type": "job", "id": "rides" } }');
        update rides_kept set begun = 9, zone = 'c';
        commit`)
      yield* Cli.text(["capture", "apply", "--table", "rides_kept"], { url })
      const text = yield* Cli.text(["history", ...last], { url })
      expect(text).toMatch(/zone.*\n *begun/)
      expect(text).toMatch(inOrder)
    })
  )

  it.effect("is told a table that is not captured from one that is misspelt", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const cases: ReadonlyArray<readonly [table: string, sentence: string]> = [
        ["plain", "table public.plain is not known here: it exists, but it is not captured"],
        ["invoies", "table public.invoies is not known here; did you mean public.invoices?"],
        ["visits_1", "table public.visits_1 is not known here: it is a partition; did you mean public.visits?"],
        ["nothing_like_it", "table public.nothing_like_it is not known here"]
      ]
      for (const [table, sentence] of cases) {
        for (const args of [
          ["timeline", "--table", table],
          ["transactions", "--table", table],
          ["history", table, "1"],
          ["as-of", table, "1", "2026-01-01"],
          ["timeline", "--table", table, "--key", "1"],
          ["feed", "--table", table]
        ]) {
          expect(yield* Cli.run(args, { url }), args.join(" ")).toEqual(Cli.refusal(1, sentence))
        }
      }
    })
  )

  it.effect("is told a misspelt column if nothing was found", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const misspelt = "column totl is not known here: public.invoices has no such column; did you mean total?"
      for (const filter of [
        ["--table", "invoices", "--changed-field", "totl"],
        ["--table", "invoices", "--contains", '{"totl":6}'],
        ["--table", "invoices", "--key", "1", "--contains", '{"totl":6}'],
        ["--table", "invoices", "--changed-field", "totl", "--since", "1d"]
      ]) {
        for (const command of ["timeline", "transactions", "unattributed"]) {
          expect(yield* Cli.run([command, ...filter], { url }), [command, ...filter].join(" ")).toEqual(
            Cli.refusal(1, misspelt)
          )
        }
      }
      expect(yield* Cli.run(["timeline", "--table", "visits", "--key", '{"id":1,"dya":1}'], { url })).toEqual(
        Cli.refusal(2, "--key: the key of public.visits is (id, day); did you mean day?")
      )
      for (const filter of [
        ["--table", "invoices", "--changed-field", "paid_by"],
        ["--table", "invoices", "--table", "visits", "--changed-field", "totl"],
        ["--changed-field", "totl"]
      ]) {
        expect(yield* Cli.json(["timeline", ...filter], { url }), filter.join(" ")).toMatchObject({ items: [] })
      }
    })
  )

  it.effect("asks for a date, or for so long ago, in every listing", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const today = new Date().toISOString().slice(0, 10)
      const windows: ReadonlyArray<readonly [args: ReadonlyArray<string>, found: boolean]> = [
        [["--to", today], true],
        [["--from", today, "--to", today], true],
        [["--on", today], true],
        [["--on", "2020-01-01"], false],
        [["--since", "1d"], true],
        [["--since", "1d", "--to", "2020-01-01"], false],
        [["--on", "2020-01-01", "--tz", "Europe/Berlin"], false]
      ]
      // The test may run over a midnight.
      const both = windows.filter(([args]) => new Date().toISOString().startsWith(today) || !args.includes(today))
      for (const [args, found] of both) {
        if (args.includes("1d") && args.includes("2020-01-01")) {
          expect(yield* Cli.run(["timeline", ...args], { url })).toEqual(
            Cli.refusal(2, /--to: must not be before --from/)
          )
          continue
        }
        for (const command of [["timeline"], ["transactions"], ["unattributed"], ["actions"]]) {
          const { items } = yield* Cli.json([...command, ...args], { url })
          expect(Array.isArray(items) && items.length > 0, [...command, ...args].join(" ")).toBe(found)
        }
        const bundle = yield* Cli.json(["actor", "user", "42", ...args], { url })
        expect(bundle).toMatchObject({ changes: { items: found ? [{}] : [] } })
      }
      for (const zone of ["Berlin", "+99:99", "+25:00", "-25:00", "+16:00"]) {
        expect(yield* Cli.run(["timeline", `--tz=${zone}`], { url }), zone).toEqual(
          Cli.refusal(2, /--tz is a time zone/)
        )
      }
    })
  )
})

const firstTransaction = Effect.flatMap(Cli.Host, ({ url }) =>
  Effect.map(Cli.text(["request", "r-1", "--json"], { url }), (text): string => {
    const { changes } = JSON.parse(text)
    return String(changes.items[0].transactionId)
  })
)
