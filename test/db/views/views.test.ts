/** Saved views: what is kept, whose it is, who may keep it, and what running one asks. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as Capture from "../../../src/Capture.js"
import * as Grants from "../../../src/Grants.js"
import * as Query from "../../../src/Query.js"
import * as SavedViews from "../../../src/SavedViews.js"
import { InvalidRequest } from "../../../src/ThreadlineError.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

const services = Layer.mergeAll(Audit.layer, Capture.layer, Query.layer, SavedViews.layer).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

const owner = Actor.user("42", { label: "desk", impersonator: Actor.admin("1") })

layer(services, { excludeTestServices: true, timeout: 300_000 })("SavedViews", (it) => {
  it.effect("keeps a canonical filter under a name that is unique for its owner", () =>
    Effect.gen(function* () {
      const saved = yield* SavedViews.save({
        owner,
        name: "Refunds",
        filter: { op: "update", table: ["invoices"], limit: 3, cursor: "anything" },
        since: "7d"
      })
      expect(saved).toMatchObject({
        owner: { type: "user", id: "42" },
        name: "Refunds",
        filter: "table=public.invoices&op=update",
        since: "7d"
      })
      expect(saved.owner).toEqual({ type: "user", id: "42" })
      const taken = yield* Effect.flip(SavedViews.save({ owner, name: "Refunds" }))
      expect([SavedViews.SavedViewError.is(taken), taken]).toMatchObject([true, { reason: "NameTaken" }])
      // The refused one changed nothing. Another owner has names of their own.
      expect(yield* SavedViews.get(owner, "Refunds")).toEqual(saved)
      yield* SavedViews.save({ owner: Actor.admin("42"), name: "Refunds" })
      const replaced = yield* SavedViews.save({ owner, name: "Refunds", filter: { op: ["delete"] }, replace: true })
      expect(replaced).toMatchObject({ id: saved.id, filter: "op=delete", since: null, createdAt: saved.createdAt })
      expect(replaced.updatedAt > saved.updatedAt).toBe(true)
      expect((yield* SavedViews.list({ owner })).items).toEqual([replaced])
      expect(yield* Effect.flip(SavedViews.get(owner, "Refund"))).toMatchObject({
        subject: "view",
        suggestion: "Refunds"
      })
      yield* SavedViews.remove(owner, "Refunds")
      expect(yield* Effect.flip(SavedViews.remove(owner, "Refunds"))).toMatchObject({ subject: "view", id: "Refunds" })
      expect((yield* SavedViews.list({ name: "Refunds" })).items.map((view) => view.owner.type)).toEqual(["admin"])
      yield* SavedViews.remove(Actor.admin("42"), "Refunds")
    })
  )

  it.effect("refuses what is wrong before anything is kept", () =>
    Effect.gen(function* () {
      const refusal = (view: object) =>
        Effect.map(Effect.either(SavedViews.save({ owner, name: "n", ...view })), (saved) =>
          saved._tag === "Left" && InvalidRequest.is(saved.left) ? `${saved.left.field} ${saved.left.rule}` : saved._tag
        )
      for (const [view, field, rule] of [
        [{ owner: Actor.anonymous }, "owner", /actor with an id/],
        [{ owner: { type: "user" } }, "owner", /needs an id/],
        [{ owner: null }, "owner", /actor with an id/],
        [{ name: "" }, "name", /empty/],
        [{ name: " n" }, "name", /white space/],
        [{ name: "a\u0000b" }, "name", /NUL/],
        [{ name: "a\nb" }, "name", /control/],
        [{ name: "n".repeat(257) }, "name", /256 bytes/],
        [{ name: 7 }, "name", /string/],
        [{ filter: { nosuch: 1 } }, "nosuch", /not known/],
        [{ filter: { key: "1" } }, "key", /needs the table/],
        [{ filter: { contains: { a: "ä".repeat(7000) } } }, "filter", /16384 bytes/],
        [{ since: "soon" }, "since", /7d/],
        [{ since: "7d", filter: { from: "2026-01-01T00:00:00Z" } }, "since", /leave from and to out/],
        [{ replace: "yes" }, "replace", /true or false/],
        [{ title: "n" }, "title", /not known/]
      ] as const) {
        expect(yield* refusal(view), `${field} ${JSON.stringify(view).slice(0, 80)}`).toMatch(
          new RegExp(`^${field} .*${rule.source}`)
        )
      }
      expect((yield* SavedViews.list()).items).toEqual([])
    })
  )

  it.effect("runs a window that moves with the time, and pages of it that keep the first one's", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe("create table notes (id int primary key, body text)")
      yield* Capture.apply([{ table: "notes" }])
      yield* Audit.transaction(sql`insert into notes select i, 'a' from generate_series(1, 5) i`, { actor: owner })
      yield* Audit.transaction(sql`delete from notes where id = 1`, { actor: Actor.user("7") })
      const recent = yield* SavedViews.save({ owner, name: "recent", filter: { op: "insert" }, since: "1h" })
      const first = yield* SavedViews.run(recent, { limit: 3 })
      expect([first.items.length, first.hasMore]).toEqual([3, true])
      const cursor = Option.getOrThrow(first.nextCursor)
      const rest = yield* SavedViews.run(recent, { limit: 3, cursor })
      expect([...first.items, ...rest.items].map(({ rowKey }) => rowKey)).toEqual(["5", "4", "3", "2", "1"])
      expect(rest.hasMore).toBe(false)
      expect(yield* Effect.flip(SavedViews.run(recent, { cursor: "nonsense" }))).toMatchObject({ field: "cursor" })
      expect(yield* Effect.flip(SavedViews.run(recent, { cursor: `1.${cursor.split(".")[1]}` }))).toMatchObject({
        field: "cursor"
      })
      const other = yield* SavedViews.save({
        owner,
        name: "old",
        filter: { actor: { type: "user", id: "7" }, order: "oldest" }
      })
      expect((yield* SavedViews.run(other)).items.map(({ op }) => op)).toEqual(["delete"])
      // A view gives no more than its reader may see.
      const hidden = yield* SavedViews.run(recent).pipe(Query.withScope(() => false))
      expect(hidden.items).toEqual([])
      yield* sql`update threadline.saved_views set filter = 'nosuch=1' where name = 'old'`
      const broken = yield* SavedViews.get(owner, "old")
      expect(yield* Effect.flip(SavedViews.run(broken))).toMatchObject({ _tag: "ThreadlineError", reason: "Failed" })
    })
  )

  it.effect("has at most 200 views of one owner, also if two save at once", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`
        insert into threadline.saved_views (owner_type, owner_id, name, filter)
        select 'job', 'many', 'view ' || i, '' from generate_series(1, 199) i`
      const outcomes = yield* Effect.all(
        ["one", "two", "three"].map((name) => Effect.either(SavedViews.save({ owner: Actor.job("many"), name }))),
        { concurrency: 3 }
      )
      expect(outcomes.filter(({ _tag }) => _tag === "Right").length).toBe(1)
      expect(outcomes.find(({ _tag }) => _tag === "Left")).toMatchObject({ left: { reason: "TooMany" } })
      // The one that is there can still be replaced.
      yield* SavedViews.save({ owner: Actor.job("many"), name: "view 7", filter: { op: "insert" }, replace: true })
      const page = yield* SavedViews.list({ owner: Actor.job("many"), limit: 150 })
      const rest = yield* SavedViews.list({
        owner: Actor.job("many"),
        limit: 150,
        cursor: Option.getOrThrow(page.nextCursor)
      })
      expect(new Set([...page.items, ...rest.items].map(({ id }) => id)).size).toBe(200)
    })
  )

  it.scoped("needs a reader, and no role writes the table itself", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const reader = yield* database.role("reader")
      yield* Grants.apply({ readers: [reader.name] })
      const client = yield* database.connect("reader")
      const as = (sql: SqlClient.SqlClient) =>
        Effect.provide(Layer.provide(SavedViews.layer, Layer.succeed(SqlClient.SqlClient, sql)))
      const view = { owner: Actor.user("9"), name: "mine" }
      expect(yield* as(client)(SavedViews.save(view))).toMatchObject({ name: "mine", filter: "" })
      for (const statement of ["delete from threadline.saved_views", "update threadline.saved_views set name = 'x'"]) {
        expect((yield* Effect.flip(client.unsafe(statement))).cause).toMatchObject({ code: "42501" })
      }
      yield* as(client)(SavedViews.remove(view.owner, view.name))
      yield* database.role("stranger")
      const stranger = yield* database.connect("stranger")
      expect(yield* Effect.flip(as(stranger)(SavedViews.save(view)))).toMatchObject({ reason: "InsufficientPrivilege" })
    })
  )
})
