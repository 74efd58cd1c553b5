/** The steps of a workflow of `@effect/workflow`, whose runs `@effect/cluster` keeps in the database of the host. */
import * as ClusterWorkflowEngine from "@effect/cluster/ClusterWorkflowEngine"
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as RunnerHealth from "@effect/cluster/RunnerHealth"
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import * as SingleRunner from "@effect/cluster/SingleRunner"
import * as SocketRunner from "@effect/cluster/SocketRunner"
import * as SqlMessageStorage from "@effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "@effect/cluster/SqlRunnerStorage"
import * as NodeClusterSocket from "@effect/platform-node/NodeClusterSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as SocketServer from "@effect/platform/SocketServer"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import { Mail, MailFailed, SendReceipt, SendReceiptLive } from "../../examples/workflow/receipts.js"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as AuditContext from "../../src/AuditContext.js"
import * as Capture from "../../src/Capture.js"
import * as TestDatabase from "../harness/TestDatabase.js"

const shardingConfig = {
  shardsPerGroup: 4,
  entityMessagePollInterval: 100,
  sendRetryInterval: 50,
  entityTerminationTimeout: 100,
  refreshAssignmentsInterval: 100,
  runnerHealthCheckInterval: 100
}

/** A process of the host: it takes the runs that are there, and leaves them to others when it ends. */
const worker = (mail: (invoice: number) => Effect.Effect<void, MailFailed>) =>
  SendReceiptLive.pipe(
    Layer.provideMerge(ClusterWorkflowEngine.layer),
    Layer.provide(SingleRunner.layer({ shardingConfig })),
    Layer.provide(Layer.succeed(Mail, Mail.of({ send: mail })))
  )

const recorded = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<Record<string, unknown>>`
    select a.name, a.actor_type || ':' || a.actor_id as actor, t.meta #>> '{onBehalfOf,id}' as on_behalf_of,
      t.correlation_id, t.source, c.op || ' ' || c.table_name as change
    from threadline.audit_actions a
    join threadline.audit_transactions t on t.id = a.transaction_id
    left join threadline.audit_changes c on c.transaction_id = t.id
    order by a.id`
)

it.live(
  "a workflow undoes a step that failed and tries it again, and records one that is done once, whatever ends",
  () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe(`
      create table invoices (id int primary key, state text not null);
      create table receipts (invoice int primary key);
      insert into invoices values (1, 'paid'), (2, 'paid')`)
      yield* Capture.apply([{ table: "invoices" }, { table: "receipts" }])
      const envelopeOf = AuditContext.toEnvelope().pipe(
        AuditContext.withActor(Actor.user("42")),
        AuditContext.withCorrelationId("order-77")
      )
      const envelope = yield* envelopeOf

      // The second mail is never answered, so that the process ends in the middle of a step.
      let attempts = 0
      const stuck = yield* Deferred.make<void>()
      yield* Effect.gen(function* () {
        yield* SendReceipt.execute({ invoice: 1, envelope })
        // What is asked for again is the same run.
        yield* SendReceipt.execute({ invoice: 1, envelope })
        expect(attempts).toBe(2)
        yield* SendReceipt.execute({ invoice: 2, envelope: "forged" }, { discard: true })
        yield* Deferred.await(stuck)
      }).pipe(
        Effect.provide(
          worker((invoice) =>
            invoice === 2
              ? Effect.zipRight(Deferred.succeed(stuck, undefined), Effect.never)
              : Effect.suspend(() => (++attempts === 1 ? new MailFailed() : Effect.void))
          )
        )
      )
      const first = [
        { name: "receipt.sent", change: "insert receipts" },
        { name: "invoice.closed", change: "update invoices" }
      ].map((row) => ({
        ...row,
        actor: "job:send-receipt",
        on_behalf_of: "42",
        correlation_id: "order-77",
        source: "workflow"
      }))
      expect(yield* recorded).toEqual(first)

      // Another process finds the run that the first one left.
      yield* SendReceipt.execute({ invoice: 2, envelope: "forged" }).pipe(Effect.provide(worker(() => Effect.void)))
      expect(yield* recorded).toEqual([
        ...first,
        ...first.map((row) => ({ ...row, on_behalf_of: null, correlation_id: null }))
      ])
    }).pipe(
      Logger.withMinimumLogLevel(LogLevel.None),
      Effect.provide(Layer.provideMerge(Layer.mergeAll(Audit.layer, Capture.layer), TestDatabase.layer))
    )
)

/** One of several processes of the host, which talk to each other over sockets; what it sent. */
const runner = Effect.gen(function* () {
  const server = yield* NodeSocketServer.make({ host: "127.0.0.1", port: 0 })
  const port = server.address._tag === "TcpAddress" ? server.address.port : 0
  const sent: Array<number> = []
  const services = yield* SendReceiptLive.pipe(
    Layer.provideMerge(ClusterWorkflowEngine.layer),
    Layer.provide(SocketRunner.layer),
    Layer.provide([Layer.succeed(SocketServer.SocketServer, server), NodeClusterSocket.layerClientProtocol]),
    Layer.provide([RunnerHealth.layerNoop, SqlMessageStorage.layer, SqlRunnerStorage.layer]),
    Layer.provide(
      ShardingConfig.layer({ ...shardingConfig, runnerAddress: Option.some(RunnerAddress.make("127.0.0.1", port)) })
    ),
    Layer.provide(RpcSerialization.layerMsgPack),
    Layer.provide(Layer.succeed(Mail, Mail.of({ send: (invoice) => Effect.sync(() => void sent.push(invoice)) }))),
    Layer.fresh,
    Layer.build
  )
  return { sent, services }
})

it.live("a workflow on two runners at once records each step once, with the cause of its own run", () =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql.unsafe(`
    create table invoices (id int primary key, state text not null);
    create table receipts (invoice int primary key)`)
    yield* Capture.apply([{ table: "receipts" }])
    const [one, two] = yield* Effect.all([runner, runner])
    const pay = (invoice: number) =>
      Effect.gen(function* () {
        const envelope = yield* AuditContext.toEnvelope().pipe(AuditContext.withActor(Actor.user(String(invoice))))
        yield* SendReceipt.execute({ invoice, envelope })
      }).pipe(Effect.provide(invoice % 2 === 0 ? one.services : two.services))
    // The runners share the work from the moment when both know of each other.
    let last = 0
    while (one.sent.length === 0 || two.sent.length === 0) {
      yield* Effect.forEach([1, 2, 3, 4], (next) => pay(last + next), { concurrency: "unbounded" })
      last += 4
    }
    const seen = yield* sql<{ readonly invoice: string; readonly cause: string }>`
      select a.subject_id as invoice, t.meta #>> '{onBehalfOf,id}' as cause
      from threadline.audit_actions a
      join threadline.audit_transactions t on t.id = a.transaction_id
      where a.name = 'receipt.sent'
      order by a.subject_id::int`
    const each = Array.from({ length: last }, (_, index) => String(index + 1))
    expect(seen).toEqual(each.map((invoice) => ({ invoice, cause: invoice })))
  }).pipe(
    Effect.scoped,
    Logger.withMinimumLogLevel(LogLevel.None),
    Effect.provide(Layer.provideMerge(Layer.mergeAll(Audit.layer, Capture.layer), TestDatabase.layer))
  )
)
