/** Who may write without being captured: a privilege of the whole server, so that the test has one of its own. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Health from "../../src/Health.js"
import * as Migrations from "../../src/Migrations.js"
import { clientOf } from "../harness/client.js"
import * as TestCluster from "../harness/TestCluster.js"
import { run } from "../support/capture.js"

it.scopedLive("Health finds ReplicaAllowed, and its statements end it", () =>
  Effect.gen(function* () {
    const cluster = yield* TestCluster.make()
    const replicaFindings = Effect.map(Health.report(), ({ findings }) =>
      findings.filter(({ code }) => code === "ReplicaAllowed")
    )
    yield* Effect.gen(function* () {
      yield* Migrations.run()
      yield* run(
        `create role "Odd ""role"`,
        `grant set on parameter session_replication_role to "Odd ""role"`,
        "grant set on parameter session_replication_role to public"
      )
      const [finding] = yield* replicaFindings
      expect(finding).toMatchObject({
        severity: "warning",
        object: "threadline",
        message: expect.stringContaining(`"Odd ""role"`),
        details: { roles: [`"Odd ""role"`, "public"] },
        mend: { _tag: "sql" }
      })
      yield* run(...(finding?.mend?._tag === "sql" ? finding.mend.statements : []))
      expect(yield* replicaFindings).toEqual([])
    }).pipe(Effect.provide(Layer.provideMerge(Health.layer, clientOf(cluster.url))))
  })
)
