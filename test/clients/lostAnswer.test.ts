/**
 * The connection is lost while COMMIT is under way, or an action that is recorded alone: before the server has it, or before its answer
 * is back. Nobody can tell which, so that no client may call it a failure or a success.
 */
import { expect, layer } from "@effect/vitest"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { connect, createServer, type AddressInfo, type Socket } from "node:net"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Semantics from "../../src/Semantics.js"
import { TestDatabase } from "../harness/TestDatabase.js"
import * as Host from "../support/auditedHost.js"
import { clients } from "./plainClients.js"

/** What happens to the next message of a kind that a client sends. */
type Fate = "passes" | "is lost" | "is done and its answer is lost"

/** A way to the server on which a message of a kind can be lost. */
class Line {
  fate: Fate = "passes"
  private readonly sockets = new Set<Socket>()
  private readonly server = createServer((near) => {
    const far = connect(this.port, this.host)
    this.sockets.add(near).add(far)
    const cut = () => {
      near.destroy()
      far.destroy()
    }
    let deaf = false
    near.on("data", (data) => {
      if (this.fate !== "passes" && this.kind.test(data.toString("latin1"))) {
        deaf = this.fate === "is done and its answer is lost"
        this.fate = "passes"
        return deaf ? void far.write(data) : cut()
      }
      far.write(data)
    })
    far.on("data", (data) => (deaf ? cut() : near.write(data)))
    near.on("close", cut).on("error", cut)
    far.on("close", cut).on("error", cut)
  })
  private readonly host: string
  private readonly port: number
  constructor(
    private readonly url: string,
    private readonly kind: RegExp
  ) {
    const { hostname, port } = new URL(url)
    this.host = hostname
    this.port = Number(port === "" ? 5432 : port)
  }
  async open(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve))
    const through = new URL(this.url)
    through.hostname = "127.0.0.1"
    through.port = String((this.server.address() as AddressInfo).port)
    return through.href
  }
  close(): Promise<unknown> {
    this.sockets.forEach((socket) => socket.destroy())
    return new Promise((resolve) => this.server.close(resolve))
  }
}

const alice = { type: "user", id: 42 } as const

const lineTo = (url: string, kind: RegExp) =>
  Effect.acquireRelease(
    Effect.sync(() => new Line(url, kind)),
    (line) => Effect.promise(() => line.close())
  )

/** The reason of the `AuditError` that a call fails with, or what else becomes of it. */
const reasonOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => "it succeeded",
    (error: unknown) => (Audit.AuditError.is(error) ? error.reason : error)
  )

const recorded = Effect.map(Host.actions, (actions) =>
  actions.map((action) => `${String(action["name"])} ${String(action["status"])}`)
)

layer(Host.layer, { excludeTestServices: true })("without an answer, COMMIT", (it) => {
  for (const [name, open] of Object.entries(clients)) {
    // A client that has lost its connection is of no use; a pool makes a new one.
    const goesOn = name !== "a client of pg"

    const run = (fate: Fate) =>
      Effect.gen(function* () {
        yield* Host.reset
        const role = yield* (yield* TestDatabase).role("app")
        const line = yield* lineTo(role.url, /\bcommit\b/i)
        yield* Effect.promise(async () => {
          const client = await open(await line.open())
          line.fate = fate
          const call = client.audited({ actor: alice, action: "post.created", onFailure: "record" }, (writer) =>
            writer.insert(1)
          )
          expect(await reasonOf(call)).toBe("OutcomeUnknown")
          expect(line.fate).toBe("passes")
          if (goesOn) {
            await client.audited({ actor: alice, action: "post.created" }, (writer) => writer.insert(2))
          }
          await client.close()
        })
        return {
          posts: yield* Host.postIds,
          actions: yield* recorded
        }
      }).pipe(Effect.scoped)

    const later = goesOn ? { posts: [2], actions: ["post.created ok"] } : { posts: [], actions: [] }

    it.effect(`is OutcomeUnknown, with ${name}, and no recorded failure if the server never had it`, () =>
      Effect.gen(function* () {
        expect(yield* run("is lost")).toEqual(later)
      })
    )

    it.effect(`is OutcomeUnknown, with ${name}, and no recorded failure if the server did it`, () =>
      Effect.gen(function* () {
        expect(yield* run("is done and its answer is lost")).toEqual({
          posts: [1, ...later.posts],
          actions: ["post.created ok", ...later.actions]
        })
      })
    )
  }
})

layer(Host.layer, { excludeTestServices: true })("an action that is recorded alone", (it) => {
  it.effect("may or may not be recorded, or is not, with Effect", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const line = yield* lineTo((yield* (yield* TestDatabase).role("app")).url, /record_action/)
      const url = Redacted.make(yield* Effect.promise(() => line.open()))
      const record = Effect.map(
        Effect.either(Semantics.record("report.read", { actor: Actor.user("42") })),
        Either.match({ onLeft: (error) => (Audit.AuditError.is(error) ? error.reason : error), onRight: () => "ok" })
      )
      yield* Effect.gen(function* () {
        expect(yield* record).toBe("ok")
        line.fate = "is done and its answer is lost"
        expect(yield* record).toBe("OutcomeUnknown")
        yield* Effect.promise(() => line.close())
        expect(yield* record).toBe("Unreachable")
      }).pipe(Effect.provide(Layer.provideMerge(Semantics.layer, PgClient.layer({ url, maxConnections: 1 }))))
      expect(yield* recorded).toEqual(["report.read ok", "report.read ok"])
    }).pipe(Effect.scoped)
  )

  for (const [name, open] of Object.entries(clients)) {
    // postgres.js asks what types the parameters have before it sends them.
    const asksFirst = name === "postgres.js"

    const run = (fate: Fate) =>
      Effect.gen(function* () {
        yield* Host.reset
        const line = yield* lineTo((yield* (yield* TestDatabase).role("app")).url, /record_action/)
        yield* Effect.promise(async () => {
          const client = await open(await line.open())
          line.fate = fate
          expect(await reasonOf(client.record("report.read", { actor: alice }))).toBe("OutcomeUnknown")
          expect(line.fate).toBe("passes")
          await client.close()
        })
        return yield* recorded
      }).pipe(Effect.scoped)

    it.effect(`may or may not be recorded if its connection is lost, with ${name}`, () =>
      Effect.gen(function* () {
        expect(yield* run("is lost")).toEqual([])
        expect(yield* run("is done and its answer is lost")).toEqual(asksFirst ? [] : ["report.read ok"])
      })
    )

    it.effect(`is not recorded if no connection can be had, with ${name}`, () =>
      Effect.gen(function* () {
        yield* Host.reset
        const line = yield* lineTo((yield* (yield* TestDatabase).role("app")).url, /record_action/)
        yield* Effect.promise(async () => {
          const client = await open(await line.open())
          await client.record("report.read", { actor: alice })
          await line.close()
          // A pool may learn only now that its connections are gone.
          const first = await reasonOf(client.record("report.read", { actor: alice }))
          const second = await reasonOf(client.record("report.read", { actor: alice }))
          expect(["ConnectionLost", "OutcomeUnknown", "Unreachable"]).toContain(first)
          expect(second).toBe(name === "a client of pg" ? "ConnectionLost" : "Unreachable")
          await client.close()
        })
        expect(yield* recorded).toEqual(["report.read ok"])
      }).pipe(Effect.scoped)
    )
  }
})
