/** What the forms of the pages do. `surface` has checked that they come from one of these pages. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { InvalidRequest } from "../../ThreadlineError.js"
import type { Act } from "./address.js"
import { kindNamed, kindsOf, optionsOf } from "./exportKinds.js"
import { read, tokensOf } from "./qualifiers.js"
import { redirect, type ScreenContext, type Screened } from "./screen.js"
import { jobScopeOf } from "./screens/exports.js"
import { deleteView, saveView } from "./screens/views.js"
import { jobsNeedNamedScope, noCapability, noConfirmation, notProvided } from "./screens/trouble.js"

const queue = (fields: URLSearchParams, context: ScreenContext): Screened => {
  const scope = jobScopeOf(context)
  return Option.match(context.services.jobs, {
    onNone: () => Effect.succeed(notProvided("ExportJobs")),
    onSome: (jobs) =>
      scope === undefined
        ? Effect.succeed(jobsNeedNamedScope)
        : Effect.gen(function* () {
            const kind = kindNamed(fields.get("format"))
            if (kind === undefined || !kindsOf(context.formats).includes(kind)) {
              return yield* new InvalidRequest({
                field: "format",
                rule: `must be one of ${kindsOf(context.formats).join(", ")}`
              })
            }
            const { filter } = yield* Either.mapLeft(
              read(tokensOf(fields.get("filter") ?? ""), context.zone),
              (error) => error
            )
            const { cursor: _, limit: __, order: ___, ...whole } = filter
            yield* jobs.queue({ ...optionsOf(kind), filter: whole, requestedBy: context.viewer.actor, ...scope })
            return redirect(context.to.address("/exports"))
          })
  })
}

const change = (id: string, context: ScreenContext, how: "cancel" | "retry"): Screened => {
  const scope = jobScopeOf(context)
  return Option.match(context.services.jobs, {
    onNone: () => Effect.succeed(notProvided("ExportJobs")),
    onSome: (jobs) =>
      scope === undefined
        ? Effect.succeed(jobsNeedNamedScope)
        : Effect.as(jobs[how](id, scope), redirect(context.to.address("/exports")))
  })
}

/** Records `retention.started` under the viewer's name, then starts the purge. The purge continues after the answer. */
const startRetention = (fields: URLSearchParams, context: ScreenContext): Screened => {
  const { retention: policy, services, viewer } = context
  if (fields.get("confirm")?.trim() !== "purge") {
    return Effect.succeed(noConfirmation)
  }
  return Option.match(Option.all({ audit: services.audit, retention: services.retention }), {
    onNone: () => Effect.succeed(notProvided("Retention")),
    onSome: ({ audit, retention }) =>
      Effect.gen(function* () {
        if (policy === undefined || viewer.actor === undefined) {
          return notProvided("Retention")
        }
        const plan = yield* retention.plan(policy)
        yield* audit.record(
          {
            name: "retention.started",
            data: { changes: plan.changes, transactions: plan.transactions, actions: plan.actions }
          },
          { actor: viewer.actor, source: "operator surface" }
        )
        yield* Effect.forkDaemon(
          retention
            .purge(plan, { actor: viewer.actor })
            .pipe(
              Effect.catchAllCause((cause) =>
                Cause.isInterruptedOnly(cause) ? Effect.void : Effect.logError("a run of retention failed", cause)
              )
            )
        )
        return redirect(context.to.address("/policy/retention"))
      })
  })
}

export const act = (name: Act, fields: URLSearchParams, context: ScreenContext, back: string): Screened => {
  const needs = name.startsWith("exports/") ? "export" : name === "policy/retention/run" ? "retention" : undefined
  if (needs !== undefined && !context.viewer.may(needs)) {
    return Effect.succeed(noCapability(needs))
  }
  switch (name) {
    case "exports/queue":
      return queue(fields, context)
    case "exports/cancel":
      return change(fields.get("id") ?? "", context, "cancel")
    case "exports/retry":
      return change(fields.get("id") ?? "", context, "retry")
    case "policy/retention/run":
      return startRetention(fields, context)
    case "theme":
      return Effect.succeed(redirect(back))
    case "views/save":
      return saveView(fields, context)
    case "views/delete":
      return deleteView(fields, context)
  }
}
