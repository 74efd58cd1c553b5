import * as SqlClient from "@effect/sql/SqlClient"
import { expect as be, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as Query from "../../src/Query.js"
import * as Testing from "../../src/testing.js"
import * as TestDatabase from "../harness/TestDatabase.js"

const host = Layer.effectDiscard(
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`create table invoices (id int primary key, state text, total numeric, note text)`
    yield* sql`create table customers (id int primary key)`
    yield* sql`alter table invoices add column customer int references customers deferrable initially deferred`
    yield* Capture.apply([{ table: "invoices" }, { table: "customers" }])
  })
).pipe(Layer.provideMerge(Capture.layer))

const services = Layer.mergeAll(Audit.layer, Query.layer, Testing.layer).pipe(
  Layer.provideMerge(host),
  Layer.provideMerge(TestDatabase.layer)
)

const user = Actor.user("42", { label: "Alice" })

const statement = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text))

const pay = Audit.transaction(statement("update invoices set state = 'paid', total = 10.50 where id = 1"), {
  action: "invoice.paid",
  actor: user,
  correlationId: "c"
})

const draft = statement("insert into invoices (id, state, total) values (1, 'draft', 10)")

layer(services, { excludeTestServices: true })("threadline/testing", (it) => {
  it.effect("compares what was audited since the last comparison", () =>
    Effect.gen(function* () {
      yield* Testing.withoutCapture(draft)
      yield* pay
      yield* Testing.expect({
        action: "invoice.paid",
        status: "ok",
        actor: Actor.user("42"),
        correlationId: "c",
        changes: [["update", "invoices", { state: ["draft", "paid"], total: [10, 10.5] }]]
      })
      yield* Testing.expect([])
      yield* statement("delete from invoices")
      yield* Testing.expect({
        actor: null,
        action: null,
        changes: [["delete", "public.invoices", { note: null, state: "paid" }]]
      })
      yield* Audit.record("report.read", { actor: user })
      yield* Testing.expect([{ action: "report.read", actor: user, changes: [] }])
    }).pipe(Testing.rolledBack)
  )

  it.effect("shows what differs line by line", () =>
    Effect.gen(function* () {
      yield* Testing.withoutCapture(draft)
      yield* pay
      const mismatch = yield* Effect.flip(
        Testing.expect([
          {
            action: "invoice.sent",
            actor: Actor.user("42"),
            changes: [
              ["update", "invoices", { state: ["draft", "sent"], note: [null, "x"] }],
              ["delete", "invoices"]
            ]
          },
          { action: "mail.sent" }
        ])
      )
      be(mismatch).toMatchObject({ _tag: "threadline/AuditMismatch" })
      be(mismatch.message.split("\n")).toEqual([
        "what was audited differs (- expected, + audited):",
        "  audited",
        '-   action: "invoice.sent"',
        '+   action: "invoice.paid"',
        "    actor: user 42",
        "      update invoices",
        '-         state: "draft" -> "sent"',
        '-         note: null -> "x"',
        "-     delete invoices",
        "- audited",
        '-   action: "mail.sent"',
        '+         state: "draft" -> "paid"',
        "+         note: did not change"
      ])
      yield* statement("insert into customers values (7)")
      const surplus = yield* Effect.flip(Testing.expect([]))
      be(surplus.message).toContain("+   action: null\n+   actor: nobody\n+     insert customers\n+         id: 7")
    }).pipe(Testing.rolledBack)
  )

  it.effect("refuses to compare what it does not know, and so to pass", () =>
    Effect.gen(function* () {
      yield* Testing.withoutCapture(draft)
      yield* pay
      const wrong: ReadonlyArray<readonly [field: string, expected: object | undefined]> = [
        ["expected.acton", { acton: "invoice.paid" }],
        ["expected.action.name", [{ action: "invoice.paid" }, { "action.name": "a" }]],
        ["expected", undefined]
      ]
      for (const [field, expected] of wrong) {
        be(yield* Effect.flip(Testing.expect(expected as Testing.Expected))).toMatchObject({
          _tag: "threadline/InvalidRequest",
          field
        })
      }
      // Nothing was passed over.
      yield* Testing.expect({ action: "invoice.paid" })
    }).pipe(Testing.rolledBack)
  )

  it.effect("says which changes have no actor", () =>
    Effect.gen(function* () {
      yield* Testing.withoutCapture(draft)
      yield* pay
      yield* Testing.expectNoneUnattributed
      yield* statement("select threadline.set_context('{\"actor\":7}')")
      yield* statement("insert into customers values (1)")
      const error = yield* Effect.flip(Testing.expectNoneUnattributed)
      be(error.message).toMatch(
        /^1 change has no actor:\n {2}insert customers 1 by the database user \S+; actor: not an object$/
      )
      yield* Testing.forget
      yield* Testing.expectNoneUnattributed
    }).pipe(Testing.rolledBack)
  )

  it.effect("loads fixtures without capture, and captures again after that, also after a load that failed", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const enabled = sql`select tgrelid::regclass::text, tgname, tgenabled from pg_trigger where not tgisinternal order by 1, 2`
      const before = yield* enabled
      yield* Testing.withoutCapture(
        Effect.zipRight(
          statement("insert into invoices (id, state, customer) values (2, 'draft', 2)"),
          statement("insert into customers values (2)")
        )
      )
      yield* Effect.flip(Testing.withoutCapture(Effect.zipRight(draft, statement("select 1 / 0"))))
      yield* Testing.expect([])
      be(yield* enabled).toEqual(before)
      be(
        (yield* Capture.status([{ table: "invoices" }, { table: "customers" }])).flatMap(({ findings }) => findings)
      ).toEqual([])
      be(
        yield* statement("select cardinality(array(select unnest(lapses))) as lapses from threadline.capture_policies")
      ).toEqual([{ lapses: 1 }, { lapses: 1 }])
      yield* statement("delete from invoices")
      yield* Testing.expect({ changes: [["delete", "invoices", { id: 2 }]] })
    })
  )

  it.effect("leaves nothing of a test that is rolled back", () =>
    Effect.gen(function* () {
      yield* Effect.exit(Testing.rolledBack(Effect.zipRight(draft, Effect.dieMessage("the test failed"))))
      yield* Testing.rolledBack(Effect.zipRight(draft, pay))
      be(yield* statement("select from invoices")).toEqual([])
      yield* Testing.expect([])
    })
  )

  it.effect("makes databases of their own from a template, and drops them", () =>
    Effect.gen(function* () {
      const { url } = yield* TestDatabase.TestDatabase
      const own = yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (id int)`
        const [row] = yield* sql<{ readonly name: string }>`select current_database() as name`
        return row?.name ?? ""
      }).pipe(Effect.provide(Testing.layerDatabase({ url })))
      be(own).toMatch(/^threadline_test_[0-9a-f]{12}$/)
      be(yield* statement(`select from pg_database where datname = '${own}'`)).toEqual([])
      const copied = statement("select from copied").pipe(Effect.provide(Testing.layerDatabase({ url, template: own })))
      be(yield* Effect.flip(copied)).toMatchObject({ _tag: "SqlError" })
    })
  )
})
