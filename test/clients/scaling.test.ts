/** What docs/scaling.md says of a replica, a column store and a broker, on real ones. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { AckPolicy, connect, DeliverPolicy } from "nats"
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as ClickHouse from "../../examples/feed/clickHouse.js"
import * as Nats from "../../examples/feed/nats.js"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as Feed from "../../src/Feed.js"
import * as Migrations from "../../src/Migrations.js"
import * as Query from "../../src/Query.js"
import * as Threadline from "../../src/Threadline.js"
import { clientOf } from "../harness/client.js"
import * as Installation from "../harness/Installation.js"
import * as Pooler from "../harness/pooler.js"
import * as Standby from "../harness/standby.js"
import * as TestCluster from "../harness/TestCluster.js"

/** A server with a table that is captured, in the database `app`. */
class Primary extends Context.Tag("threadline/test/Primary")<Primary, TestCluster.TestCluster>() {}

const primary = Layer.scoped(
  Primary,
  Effect.gen(function* () {
    const cluster = yield* TestCluster.make({ settings: { wal_keep_size: "512MB" } })
    const admin = yield* cluster.rawClient()
    yield* Effect.promise(() => admin.query("create database app"))
    yield* Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table posts (id int primary key, title text, price numeric)`
      yield* Migrations.run()
      yield* Capture.apply([{ table: "posts" }])
      yield* sql`insert into posts select i, 'written', 0.10 from generate_series(1, 1500) i`
    }).pipe(Effect.provide(Layer.provideMerge(Capture.layer, clientOf(cluster.urlOf("app"), 3))))
    return cluster
  })
)

const services = Layer.unwrapEffect(
  Effect.map(Primary, (cluster) =>
    Layer.provideMerge(Layer.mergeAll(Audit.layer, Feed.layer, Query.layer), clientOf(cluster.urlOf("app"), 3))
  )
)

/** A directory of the user who runs servers. */
const directory = Effect.acquireRelease(
  Effect.promise(async () => {
    const made = await mkdtemp(join(tmpdir(), "threadline-scaling-"))
    const user = Installation.serverUser()
    if (user !== undefined) {
      await chown(made, user.uid, user.gid)
    }
    await chmod(made, 0o755)
    return made
  }),
  (made) => Effect.promise(() => rm(made, { recursive: true, force: true }))
)

/** A program that runs as long as the scope. */
const program = (path: string, args: ReadonlyArray<string>, cwd: string) =>
  Effect.acquireRelease(
    Effect.sync(() => spawn(path, [...args], { ...Installation.serverUser(), cwd, stdio: "ignore" })),
    (child) =>
      Effect.promise(
        () =>
          new Promise<void>((resolve) => {
            if (child.exitCode !== null || child.signalCode !== null) {
              resolve()
            } else {
              child.once("exit", () => resolve())
              child.kill("SIGKILL")
            }
          })
      )
  )

const patiently = { schedule: Schedule.spaced("50 millis"), times: 400 } as const

const clickHouseServer = Effect.gen(function* () {
  const home = yield* directory
  const [http, tcp] = [yield* Pooler.freePort, yield* Pooler.freePort]
  yield* Effect.promise(async () => {
    await writeFile(
      join(home, "config.xml"),
      `<yandex>
        <logger><level>error</level><log>${home}/log</log><errorlog>${home}/errors</errorlog></logger>
        <listen_host>127.0.0.1</listen_host>
        <http_port>${http}</http_port>
        <tcp_port>${tcp}</tcp_port>
        <path>${home}/data/</path>
        <tmp_path>${home}/tmp/</tmp_path>
        <users_config>${home}/users.xml</users_config>
        <default_profile>default</default_profile>
        <default_database>default</default_database>
        <mark_cache_size>16777216</mark_cache_size>
      </yandex>`
    )
    await writeFile(
      join(home, "users.xml"),
      `<yandex>
        <profiles><default></default></profiles>
        <quotas><default></default></quotas>
        <users><default>
          <password></password><profile>default</profile><quota>default</quota>
          <networks><ip>127.0.0.1</ip></networks>
        </default></users>
      </yandex>`
    )
  })
  yield* program(clickHouse, ["--config-file", join(home, "config.xml")], home)
  const origin = `http://127.0.0.1:${http}`
  yield* Effect.retry(ClickHouse.query(origin, "select 1"), patiently)
  return origin
})

const natsServer = Effect.gen(function* () {
  const home = yield* directory
  const port = yield* Pooler.freePort
  yield* program(nats, ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", join(home, "stream")], home)
  const open = Effect.tryPromise(() => connect({ servers: `127.0.0.1:${port}`, reconnect: false }))
  return yield* Effect.acquireRelease(Effect.retry(open, patiently), (connection) =>
    Effect.promise(() => connection.close())
  )
})

const [clickHouse, nats] = ["clickhouse-server", "nats-server"].map(
  (name) =>
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map((at) => join(at, name)).find((path) => existsSync(path)) ?? ""
) as [string, string]

const idsOf = Effect.map(
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql<{ id: string }>`select c.id::text from threadline.audit_changes c order by c.id`
  ),
  (rows) => rows.map(({ id }) => id)
)

layer(Layer.provideMerge(services, primary), { excludeTestServices: true, timeout: 300_000 })(
  "beyond one machine",
  (it) => {
    it.scoped("Query reads a standby, while audited transactions write to the primary", () =>
      Effect.gen(function* () {
        const cluster = yield* Primary
        const standby = yield* Standby.make(cluster)
        const apart = Threadline.layer({
          writer: clientOf(cluster.urlOf("app"), 3),
          reader: clientOf(standby.urlOf("app"), 3)
        }).pipe(Layer.provideMerge(clientOf(cluster.urlOf("app"), 3)))
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const { transactionId } = yield* Audit.transaction(sql`update posts set title = 'paid' where id = 7`, {
            action: "post.paid",
            actor: Actor.user("42")
          })
          yield* standby.caughtUp
          const filter = { table: "posts", key: "7" } as const
          const { items } = yield* Query.timeline(filter)
          expect(items.map(({ op, transaction }) => [op, transaction.actor?.type])).toEqual([
            ["update", "user"],
            ["insert", undefined]
          ])
          expect(yield* Query.asOf("posts", "7", new Date())).toMatchObject({
            _tag: "Present",
            row: { title: "paid" }
          })
          expect(yield* Query.incident(transactionId._tag === "Some" ? transactionId.value : "")).toMatchObject({
            actions: [{ name: "post.paid" }]
          })
          // What is read did not come from the primary.
          yield* standby.cluster.stop("fast")
          expect((yield* Effect.flip(Query.timeline(filter)))._tag).toBe("ThreadlineError")
        }).pipe(Effect.provide(apart))
      })
    )

    it.scoped.skipIf(clickHouse === "")("ClickHouse has each change once, though batches came twice", () =>
      Effect.gen(function* () {
        const origin = yield* clickHouseServer
        yield* ClickHouse.query(origin, ClickHouse.createTable)
        // A copy that ended before it could note how far it was.
        yield* Feed.consume("clickhouse", () => Effect.fail("the process ended"), { limit: 1 }).pipe(Effect.flip)
        yield* ClickHouse.copy(origin, { live: false })
        yield* Feed.forget("clickhouse")
        yield* ClickHouse.copy(origin, { live: false })
        const rows = Effect.map(
          ClickHouse.query(origin, "select id from changes final order by id format TabSeparated"),
          (text) => text.trim().split("\n")
        )
        expect(yield* rows).toEqual(yield* idsOf)
        expect(
          yield* ClickHouse.query(
            origin,
            "select data_after from changes final where row_key = '3' format TabSeparatedRaw"
          )
        ).toBe('{"id":3,"price":0.10,"title":"written"}\n')
      })
    )

    it.scoped.skipIf(nats === "")("NATS has each change once, though batches came twice", () =>
      Effect.gen(function* () {
        const connection = yield* natsServer
        const manager = yield* Effect.promise(() => connection.jetstreamManager())
        yield* Effect.promise(() => manager.streams.add({ name: "changes", subjects: ["changes.>"] }))
        const broker = connection.jetstream()
        yield* Nats.forward(broker, { live: false })
        yield* Feed.forget("nats")
        yield* Nats.forward(broker, { live: false })
        const ids = yield* idsOf
        const { state } = yield* Effect.promise(() => manager.streams.info("changes"))
        expect(state.messages).toBe(ids.length)
        const seen = yield* Effect.promise(async () => {
          await manager.consumers.add("changes", {
            durable_name: "reader",
            ack_policy: AckPolicy.Explicit,
            deliver_policy: DeliverPolicy.All
          })
          const messages = await (await broker.consumers.get("changes", "reader")).fetch({ max_messages: ids.length })
          const received: Array<string> = []
          for await (const message of messages) {
            received.push(message.json<{ id: string }>().id)
            message.ack()
          }
          return received
        })
        expect(seen).toEqual(ids)
      })
    )
  }
)
