import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as AuditContext from "../../src/AuditContext.js"
import * as Capture from "../../src/Capture.js"
import * as Export from "../../src/Export.js"
import * as Feed from "../../src/Feed.js"
import { apply as grant } from "../../src/internal/schema/grants.js"
import * as Query from "../../src/Query.js"
import * as Threadline from "../../src/Threadline.js"
import { clientOf } from "../harness/client.js"
import * as TestDatabase from "../harness/TestDatabase.js"

/** A service of one of two deployments, under a name of its own. */
class First extends Context.Tag("test/First")<First, Query.Service>() {}
class Second extends Context.Tag("test/Second")<Second, Query.Service>() {}

const captured = Effect.gen(function* () {
  const database = yield* TestDatabase.make()
  const sql = Context.get(yield* Layer.build(clientOf(database.url, 3)), SqlClient.SqlClient)
  yield* sql`create table posts (id int primary key, tenant text)`
  yield* Effect.flatMap(Capture.Capture, (capture) => capture.apply([{ table: "posts" }])).pipe(
    Effect.provide(Layer.provide(Capture.layer, Layer.succeed(SqlClient.SqlClient, sql)))
  )
  return { ...database, sql }
})

describe("Threadline.layer", () => {
  it.scopedLive("gives every service of a deployment, each on the client of its role", () =>
    Effect.gen(function* () {
      const { sql, url } = yield* captured
      const live = Threadline.layer({ writer: clientOf(url, 3) })
      const { changes, transactionId } = yield* Effect.gen(function* () {
        const audited = yield* Audit.transaction(sql`insert into posts values (1, 'a')`, { action: "post.created" })
        const page = yield* Query.timeline({ actor: { type: "user", id: "42" } })
        const fed = yield* Feed.read()
        return { transactionId: audited.transactionId, changes: [page.items.length, fed.changes.length] }
      }).pipe(
        AuditContext.withActor(Actor.user("42")),
        Effect.provide(Layer.merge(live, Layer.succeed(SqlClient.SqlClient, sql)))
      )
      expect(transactionId._tag).toBe("Some")
      expect(changes).toEqual([1, 1])
    })
  )

  it("refuses an option that is not known, in the layers of exports and of the context too", () => {
    const writer = clientOf("postgres://localhost/none", 1)
    expect(() => Threadline.layer({ writer, scopesRequired: true } as never)).toThrow(
      /scopesRequired: is not known here/
    )
    expect(() => Export.layerWith({ records: false } as never)).toThrow(/records: is not known here/)
    expect(() => AuditContext.layer({ sourse: "api" } as never)).toThrow(/sourse: is not known here/)
  })

  it.scopedLive("keeps two deployments in one program apart", () =>
    Effect.gen(function* () {
      const [first, second] = [yield* captured, yield* captured]
      yield* first.sql`insert into posts values (1, 'a')`
      const deployment = (url: string) => Threadline.layer({ writer: clientOf(url, 3) })
      const both = Layer.merge(
        Layer.effect(First, Query.Query).pipe(Layer.provide(deployment(first.url))),
        Layer.effect(Second, Query.Query).pipe(Layer.provide(deployment(second.url)))
      )
      const counts = yield* Effect.gen(function* () {
        const ofFirst = yield* (yield* First).count()
        const ofSecond = yield* (yield* Second).count()
        return [ofFirst.count, ofSecond.count]
      }).pipe(Effect.provide(both))
      expect(counts).toEqual([1, 0])
    })
  )

  it.scopedLive("reads as the reader inside an audited transaction, on a connection of its own", () =>
    Effect.gen(function* () {
      const { role, sql } = yield* captured
      const [writer, reader] = yield* Effect.all([role("writer"), role("reader")])
      yield* grant({ writers: [writer.name], readers: [reader.name] }).pipe(
        Effect.provideService(SqlClient.SqlClient, sql)
      )
      yield* sql.unsafe(`grant select, insert on posts to ${writer.name}`)
      yield* sql`insert into posts values (1, 'a')`
      const Writer = clientOf(writer.url, 3)
      const inside = Effect.gen(function* () {
        const own = yield* SqlClient.SqlClient
        yield* own`insert into posts values (2, 'b')`
        const page = yield* Query.timeline()
        const streamed = yield* Stream.runCollect(Query.timelineStream())
        const fed = yield* Feed.read()
        const fedStream = yield* Stream.runCollect(Feed.stream())
        const scoped = yield* Query.count().pipe(Query.withScope(() => true))
        const [row] = yield* own<{ readonly role: string }>`select current_user as role`
        return [
          page.items.length,
          streamed.length,
          fed.changes.length,
          [...fedStream].flatMap(({ changes }) => changes).length,
          scoped.count,
          row?.role === writer.name
        ]
      })
      const run = (live: Layer.Layer<Threadline.Services, unknown>) =>
        Audit.withTransaction(inside, { actor: Actor.user("42"), action: "post.created" }).pipe(
          Effect.provide(Layer.merge(live, Writer))
        )
      expect(yield* run(Threadline.layer({ writer: Writer, reader: clientOf(reader.url, 3) }))).toEqual([
        1,
        1,
        1,
        1,
        1,
        true
      ])
      // One client for everything: the reads are part of the transaction.
      yield* grant({ readers: [writer.name] }).pipe(Effect.provideService(SqlClient.SqlClient, sql))
      yield* sql`delete from posts where id = 2`
      const [page, streamed] = yield* run(Threadline.layer({ writer: Writer }))
      expect([page, streamed]).toEqual([4, 4])
    })
  )

  it.scopedLive("makes a scope compulsory where it is asked to", () =>
    Effect.gen(function* () {
      const { sql, url } = yield* captured
      yield* sql`insert into posts values (1, 'a'), (2, 'b')`
      const live = Threadline.layer({ writer: clientOf(url, 3), scopeRequired: true })
      yield* Effect.gen(function* () {
        for (const read of [Query.timeline(), Feed.read()]) {
          const refused = yield* Effect.either<unknown, Query.ReadError, Query.Query | Feed.Feed>(read)
          expect(Either.isLeft(refused) ? refused.left.message : "fine").toMatch(/^scope: is required here/)
        }
        const ofTenant: Query.ReadScope = (surface, columns) =>
          surface === "changes" && columns.sql`${columns.image} ->> 'tenant' = 'a'`
        expect((yield* Query.timeline().pipe(Query.withScope(ofTenant))).items).toHaveLength(1)
        const feed = yield* Feed.Feed
        expect((yield* feed.scoped(ofTenant).read()).changes).toHaveLength(1)
      }).pipe(Effect.provide(live))
    })
  )

  it.scopedLive("says at once where the schema is missing", () =>
    Effect.gen(function* () {
      const { url } = yield* TestDatabase.make({ schema: false })
      const built = yield* Effect.either(Layer.build(Threadline.layer({ writer: clientOf(url, 3) })))
      expect(Either.isLeft(built) ? built.left : "built").toMatchObject({ reason: "NotMigrated" })
    })
  )
})

describe("ThreadlineLive", () => {
  it.scopedLive("reads the name of the schema from the configuration", () =>
    Effect.gen(function* () {
      const { url } = yield* captured
      const live = Layer.provide(Threadline.ThreadlineLive, clientOf(url, 3))
      const count = Effect.provide(Query.count(), live)
      expect(yield* count).toEqual({ count: 0, exact: true })
      const elsewhere = ConfigProvider.fromMap(new Map([["THREADLINE_SCHEMA", "elsewhere"]]))
      const refused = yield* Effect.either(Effect.withConfigProvider(count, elsewhere))
      expect(Either.isLeft(refused) ? refused.left : "fine").toMatchObject({ reason: "NotMigrated" })
    })
  )
})
