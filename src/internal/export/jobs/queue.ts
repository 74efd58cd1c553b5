/**
 * Decodes the requests to the queue.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Actor from "../../../Actor.js"
import * as AuditContext from "../../../AuditContext.js"
import { InvalidRequest } from "../../../ThreadlineError.js"
import { unsafeParse } from "../../core/json.js"
import type { JsonObject } from "../../core/jsonValue.js"
import { choice, mustBeObject, paging, request, ShortText } from "../../core/request.js"
import { canonicalFilter } from "../../search/everything.js"
import type { ExportError } from "../exportError.js"
import { hasColumns, type Options as ExportOptions, type Request } from "../request.js"
import { decoded } from "../stream.js"
import { NamedScope, type State, type StoredRequest } from "./model.js"
import type { Asked } from "./table.js"

export interface QueueOptions extends Omit<ExportOptions, "scopeName"> {
  /** The scope that the export is read under, by name and parameters. */
  readonly scope?: NamedScope | undefined
}

export interface ScopeOption {
  /** Only jobs of this scope. Required if jobs need a scope. */
  readonly scope?: NamedScope | undefined
}

export interface ListOptions extends ScopeOption {
  /** Only jobs in this state, or in one of these. */
  readonly state?: State | ReadonlyArray<State> | undefined
  /** Only jobs that the schedule of this name has made. */
  readonly schedule?: string | undefined
  /** Only jobs that this actor asked for. Without an `id`: any actor of this type. */
  readonly requestedBy?: { readonly type: Actor.Type; readonly id?: string | undefined } | undefined
  /** Jobs in a page, 1 to 1000. The default is 50. */
  readonly limit?: number | undefined
  /** The `nextCursor` of the page before, from the same list. */
  readonly cursor?: string | undefined
}

const decodeScopeFields = request(NamedScope)

export const decodeScope = (scope: NamedScope | undefined): Effect.Effect<NamedScope | undefined, InvalidRequest> =>
  scope === undefined
    ? Effect.succeed(undefined)
    : mustBeObject(scope, "scope").pipe(
        Effect.zipRight(Effect.suspend(() => decodeScopeFields(scope))),
        Effect.mapError(({ field, rule }) =>
          field === "scope" || field === "request"
            ? new InvalidRequest({ field: "scope", rule })
            : new InvalidRequest({ field: `scope.${field}`, rule })
        )
      )

export const requiredScope = () =>
  new InvalidRequest({ field: "scope", rule: "is required here: give the name of a scope and its parameters" })

const stored = ({ columns, compression, filter, format, limit, order, raw, shape }: Request): StoredRequest => ({
  format,
  filter: unsafeParse(canonicalFilter(filter)) as JsonObject,
  order,
  limit: limit ?? null,
  columns: hasColumns(format) ? columns : null,
  raw,
  shape: shape ?? null,
  compression: compression ?? null
})

/** A request for a job. Its actor is the one of the options, otherwise the one of the context. */
export const decodeAsked = Effect.fnUntraced(function* (
  options: QueueOptions
): Effect.fn.Return<Asked, ExportError | InvalidRequest> {
  yield* mustBeObject(options)
  const { scope: given, ...rest } = options
  // `Export.stream` takes these. A job has its scope instead of a name for one, and its worker has the callbacks.
  const foreign = (["scopeName", "onManifest", "onProgress"] as const).find((option) => option in rest)
  if (foreign !== undefined) {
    return yield* new InvalidRequest({ field: foreign, rule: "is not known here" })
  }
  const { request } = yield* decoded(rest)
  const scope = yield* decodeScope(given)
  const current = yield* AuditContext.current
  const requestedBy = request.requestedBy ?? current.actor
  const refusal = requestedBy === undefined ? undefined : Actor.invalid(requestedBy, "requestedBy")
  return refusal === undefined
    ? { request: stored(request), scope, requestedBy, context: AuditContext.merge(current, { actor: requestedBy }) }
    : yield* refusal
})

const states = [
  "queued",
  "running",
  "completed",
  "failed",
  "cancelled",
  "expired"
] as const satisfies ReadonlyArray<State>

const OneState = choice(...states)

const ListRequest = Schema.Struct({
  state: Schema.optional(Schema.Union(OneState, Schema.Array(OneState))),
  schedule: Schema.optional(ShortText),
  requestedBy: Schema.optional(
    Schema.Struct({
      type: choice(...Actor.types),
      id: Schema.optional(ShortText)
    })
  ),
  ...paging
})

const decodeListFields = request(ListRequest)

export interface Listing {
  readonly state: ReadonlyArray<State> | undefined
  readonly schedule: string | undefined
  readonly requestedBy: { readonly type: string; readonly id: string | undefined } | undefined
  readonly scope: NamedScope | undefined
  readonly limit: number
  readonly cursor: string | undefined
}

export const decodeListing = Effect.fnUntraced(function* (
  options: ListOptions
): Effect.fn.Return<Listing, InvalidRequest> {
  yield* mustBeObject(options)
  const { scope, ...rest } = options
  const { cursor, limit, requestedBy, schedule, state } = yield* decodeListFields(rest)
  return {
    state: state === undefined ? undefined : typeof state === "string" ? [state] : state,
    schedule,
    requestedBy: requestedBy === undefined ? undefined : { type: requestedBy.type, id: requestedBy.id },
    scope: yield* decodeScope(scope),
    limit,
    cursor
  }
})
