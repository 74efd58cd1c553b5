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

  it.effect("compares every action of a transaction, the first with its changes", () =>
    Effect.gen(function* () {
      yield* Testing.withoutCapture(draft)
      const both = Audit.transaction(Effect.zipRight(pay, Audit.record("mail.queued")), {
        action: "order.closed",
        actor: user
      })
      yield* both
      yield* Testing.expect([
        { action: "invoice.paid", actor: user, changes: [["update", "invoices"]] },
        { action: "mail.queued", actor: user, changes: [] },
        { action: "order.closed", actor: user, changes: [] }
      ])
      yield* Audit.transaction(
        Effect.zipRight(statement("update invoices set state = 'sent'"), Audit.record("mail.queued")),
        { action: "invoice.sent", actor: user }
      )
      const lone = yield* Effect.flip(
        Testing.expect({ action: "mail.queued", changes: [["update", "invoices", { state: ["paid", "sent"] }]] })
      )
      be(lone.message.split("\n").slice(-3)).toEqual([
        "+ audited",
        '+   action: "invoice.sent"',
        "+   actor: user 42 (Alice)"
      ])
    }).pipe(Testing.rolledBack)
  )

  it.effect("holds whole numbers of any size apart", () =>
    Effect.gen(function* () {
      yield* statement("insert into invoices (id, total) values (2, 9007199254740993)")
      const expecting = (total: bigint) => Testing.expect({ changes: [["insert", "invoices", { total }]] })
      const { message } = yield* Effect.flip(expecting(9007199254740992n))
      be(message).toContain("-         total: 9007199254740992\n+         total: 9007199254740993")
      yield* statement("insert into invoices (id, total) values (3, 9007199254740993)")
      yield* expecting(9007199254740993n)
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
        ["expected", undefined],
        ["expected.changes", { changes: "update" }],
        ["expected.changes", { changes: ["update invoices"] }],
        ["expected.changes", { changes: [["update"]] }],
        ["expected.changes", { changes: [["update", "invoices", "paid"]] }],
        ["expected.actor", { actor: "user:42" }],
        ["expected.actor.type", { actor: { type: "usr", id: "42" } }],
        ["expected.actor.id", { actor: { type: "user" } }],
        ["expected.actor.lable", { actor: { type: "user", id: "42", lable: "Bob" } }],
        [
          "expected.actor.impersonater",
          { actor: { type: "user", id: "42", impersonater: { type: "admin", id: "1" } } }
        ],
        [
          "expected.actor.impersonator.lable",
          { actor: { type: "user", id: "42", impersonator: { type: "admin", id: "1", lable: "Bob" } } }
        ]
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

  it.effect("undoes only its own part if it is inside another transaction", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const paid = { action: "invoice.paid", changes: [["update", "invoices", { state: ["draft", "paid"] }]] } as const
      const inner = Testing.rolledBack(Effect.zipRight(pay, Testing.expect(paid)))
      for (const outer of [Testing.rolledBack, sql.withTransaction]) {
        yield* outer(
          Effect.gen(function* () {
            yield* Testing.withoutCapture(draft)
            yield* inner
            yield* Effect.exit(Testing.rolledBack(Effect.zipRight(pay, Effect.dieMessage("the test failed"))))
            be(yield* statement("select id, state from invoices")).toEqual([{ id: 1, state: "draft" }])
            yield* inner
            yield* pay
            yield* Testing.expect(paid)
            yield* statement("delete from invoices")
          })
        )
        yield* Testing.forget
      }
    })
  )

  it.effect("says in the words of the server why fixtures cannot be loaded without capture", () =>
    Effect.gen(function* () {
      const early = yield* Effect.flip(
        Testing.withoutCapture(statement("insert into invoices (id, customer) values (9, 9)"))
      )
      be(early.message).toContain('"invoices" violates foreign key constraint')
      const few = yield* statement("create role threadline_loader").pipe(
        Effect.zipRight(statement("grant usage on schema threadline to threadline_loader")),
        Effect.zipRight(statement("set local role threadline_loader")),
        Effect.zipRight(Testing.withoutCapture(draft)),
        Testing.rolledBack,
        Effect.flip
      )
      be(few.message).toMatch(/^must be owner of table /)
      yield* Testing.expect([])
    })
  )

  it.effect("says in the words of the server why a database cannot be made, and refuses wrong options", () =>
    Effect.gen(function* () {
      const { url } = yield* TestDatabase.TestDatabase
      const made = (options: Parameters<typeof Testing.layerDatabase>[0]) =>
        Effect.flip(Effect.provide(statement("select 1"), Testing.layerDatabase(options)))
      const unknown = yield* made({ url, template: "no_such_database" })
      be(unknown).toMatchObject({ _tag: "SqlError", message: 'template database "no_such_database" does not exist' })
      const name = new URL(url).pathname.slice(1)
      be((yield* made({ url, template: name })).message).toBe(
        `source database "${name}" is being accessed by other users`
      )
      for (const [field, options] of [
        ["options", undefined],
        ["url", {}],
        ["url", { url: undefined }],
        ["url", { url: "localhost" }],
        ["templat", { url, templat: "invoices" }]
      ] as const) {
        be(() => Testing.layerDatabase(options as never)).toThrow(be.objectContaining({ field }))
      }
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
