/** What a form of a page does, once it is known to be of a page of ours. Each asks for its capability. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { InvalidRequest } from "../../ThreadlineError.js"
import type { Act } from "./address.js"
import { kindNamed, kindsOf, optionsOf } from "./exportKinds.js"
import { read, tokensOf } from "./qualifiers.js"
import { type Asked, redirect, type Screened } from "./screen.js"
import { jobScopeOf } from "./screens/exports.js"
import { deleteView, saveView } from "./screens/views.js"
import { jobsNeedNamedScope, noCapability, noConfirmation, notProvided } from "./screens/trouble.js"

const queue = (fields: URLSearchParams, asked: Asked): Screened => {
  const scope = jobScopeOf(asked)
  return Option.match(asked.services.jobs, {
    onNone: () => Effect.succeed(notProvided("ExportJobs")),
    onSome: (jobs) =>
      scope === undefined
        ? Effect.succeed(jobsNeedNamedScope)
        : Effect.gen(function* () {
            const kind = kindNamed(fields.get("format"))
            if (kind === undefined || !kindsOf(asked.formats).includes(kind)) {
              return yield* new InvalidRequest({
                field: "format",
                rule: `must be one of ${kindsOf(asked.formats).join(", ")}`
              })
            }
            const { filter } = yield* Either.mapLeft(
              read(tokensOf(fields.get("filter") ?? ""), asked.zone),
              (error) => error
            )
            const { cursor: _, limit: __, order: ___, ...whole } = filter
            yield* jobs.queue({ ...optionsOf(kind), filter: whole, requestedBy: asked.viewer.actor, ...scope })
            return redirect(asked.to.address("/exports"))
          })
  })
}

const change = (id: string, asked: Asked, how: "cancel" | "retry"): Screened => {
  const scope = jobScopeOf(asked)
  return Option.match(asked.services.jobs, {
    onNone: () => Effect.succeed(notProvided("ExportJobs")),
    onSome: (jobs) =>
      scope === undefined
        ? Effect.succeed(jobsNeedNamedScope)
        : Effect.as(jobs[how](id, scope), redirect(asked.to.address("/exports")))
  })
}

/** Recorded first, under the viewer's name. It runs on when the page has been answered; its run is in the list. */
const startRetention = (fields: URLSearchParams, asked: Asked): Screened => {
  const { retention: policy, services, viewer } = asked
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
        return redirect(asked.to.address("/policy/retention"))
      })
  })
}

export const act = (name: Act, fields: URLSearchParams, asked: Asked, back: string): Screened => {
  const needs = name.startsWith("exports/") ? "export" : name === "policy/retention/run" ? "retention" : undefined
  if (needs !== undefined && !asked.viewer.may(needs)) {
    return Effect.succeed(noCapability(needs))
  }
  switch (name) {
    case "exports/queue":
      return queue(fields, asked)
    case "exports/cancel":
      return change(fields.get("id") ?? "", asked, "cancel")
    case "exports/retry":
      return change(fields.get("id") ?? "", asked, "retry")
    case "policy/retention/run":
      return startRetention(fields, asked)
    case "theme":
      return Effect.succeed(redirect(back))
    case "views/save":
      return saveView(fields, asked)
    case "views/delete":
      return deleteView(fields, asked)
  }
}
