/**
 * The connection is lost while COMMIT is under way: before the server has it, or before its answer is back. Nobody can tell which, so
 * that no client may call it a failure or a success.
 */
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { connect, createServer, type AddressInfo, type Socket } from "node:net"
import * as Audit from "../../src/Audit.js"
import { TestDatabase } from "../harness/TestDatabase.js"
import * as Host from "../support/auditedHost.js"
import { clients } from "./plainClients.js"

/** What happens to the next COMMIT that a client sends. */
type Fate = "passes" | "is lost" | "is done and its answer is lost"

/** A way to the server on which a COMMIT can be lost. */
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
      if (this.fate !== "passes" && /\bcommit\b/i.test(data.toString("latin1"))) {
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
  constructor(private readonly url: string) {
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

layer(Host.layer, { excludeTestServices: true })("COMMIT without an answer", (it) => {
  for (const [name, open] of Object.entries(clients)) {
    // A client that has lost its connection is of no use; a pool makes a new one.
    const goesOn = name !== "a client of pg"

    const run = (fate: Fate) =>
      Effect.gen(function* () {
        yield* Host.reset
        const role = yield* (yield* TestDatabase).role("app")
        const line = yield* Effect.acquireRelease(
          Effect.sync(() => new Line(role.url)),
          (line) => Effect.promise(() => line.close())
        )
        yield* Effect.promise(async () => {
          const client = await open(await line.open())
          line.fate = fate
          const error: unknown = await client
            .audited({ actor: alice, action: "post.created", onFailure: "record" }, (writer) => writer.insert(1))
            .then(
              () => "it succeeded",
              (failure: unknown) => failure
            )
          expect(line.fate).toBe("passes")
          expect(Audit.AuditError.is(error) ? error.reason : error).toBe("OutcomeUnknown")
          if (goesOn) {
            await client.audited({ actor: alice, action: "post.created" }, (writer) => writer.insert(2))
          }
          await client.close()
        })
        return {
          posts: yield* Host.postIds,
          actions: (yield* Host.actions).map((action) => `${String(action["name"])} ${String(action["status"])}`)
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
