/** Adds records of evidence. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import * as AuditContext from "../../AuditContext.js"
import { fromSqlError, InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import { stringify } from "../core/json.js"
import type { JsonValue } from "../core/jsonValue.js"
import { mustBeObject, unknownField } from "../core/request.js"
import { documentRule } from "../core/text.js"
import { type Storage, writtenRows } from "../record/storage.js"
import { mustBeWhole } from "../record/whole.js"
import {
  type Details,
  details,
  detailVersion,
  type EvidenceRecord,
  type Origin,
  Status,
  type Subject
} from "./model.js"
import { checkReference, checkSubject } from "./check.js"
import { byId } from "./read.js"

/**
 * What a host records about a subject.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given<S extends Subject> {
  /** What it is about, 1 to 256 bytes: an environment, the id of a run. `latest` and `history` find it by this. */
  readonly reference: string
  /** The outcome, one of those that the subject has. */
  readonly status: Status
  /** The facts, in the form that the subject has. */
  readonly detail: Details[S]
  /** Who records it; the actor of `AuditContext` unless given. */
  readonly actor?: Actor.Actor | undefined
}

const knownFields = { reference: true, status: true, detail: true, actor: true } as const

const isStatus = Schema.is(Status)
const isActor = Schema.is(Actor.Actor)

const detailOf = (subject: Subject, detail: unknown): Either.Either<unknown, InvalidRequest> =>
  Either.mapLeft(
    Schema.decodeUnknownEither(details[subject] as Schema.Schema<unknown>)(detail, { onExcessProperty: "error" }),
    (error) => {
      const [issue] = ParseResult.ArrayFormatter.formatErrorSync(error)
      const path = (issue?.path ?? []).map(String)
      return new InvalidRequest({
        field: ["detail", ...path].join("."),
        rule:
          issue === undefined || issue._tag === "Unexpected"
            ? "is not known here"
            : issue._tag === "Missing"
              ? "is missing"
              : issue.message
      })
    }
  )

const IdRow = Schema.Struct({ id: Schema.String })

export const record = Effect.fnUntraced(function* (
  storage: Storage,
  givenSubject: unknown,
  given: Given<Subject>,
  origin: Origin
): Effect.fn.Return<EvidenceRecord, InvalidRequest | ThreadlineError> {
  const subject = yield* checkSubject(givenSubject)
  yield* mustBeObject(given, "evidence")
  const unknown = unknownField(given, knownFields)
  if (unknown !== undefined) {
    return yield* unknown
  }
  const reference = yield* checkReference(given.reference)
  if (!isStatus(given.status)) {
    return yield* new InvalidRequest({ field: "status", rule: "must be ok, attention or failed" })
  }
  const rule = documentRule(given.detail)
  if (rule !== undefined) {
    return yield* new InvalidRequest({ field: "detail", rule })
  }
  const detail = yield* detailOf(subject, given.detail)
  const actor = given.actor === undefined ? (yield* AuditContext.current).actor : given.actor
  if (actor !== undefined && !isActor(actor)) {
    return yield* new InvalidRequest({ field: "actor", rule: 'must be an actor, such as { type: "user", id: "42" }' })
  }
  const document = stringify({
    subject,
    reference,
    status: given.status,
    detail: detail as JsonValue,
    detailVersion,
    origin,
    actor: (actor ?? null) as JsonValue
  })
  if (Buffer.byteLength(document) > 1_000_000) {
    return yield* new InvalidRequest({ field: "detail", rule: "must not exceed a megabyte" })
  }
  yield* mustBeWhole(storage)
  const [row] = yield* writtenRows(
    storage,
    IdRow,
    storage.sql`select ${storage.name("record_evidence")}(${document}::jsonb)::text as id`,
    fromSqlError
  )
  const recorded = row === undefined ? undefined : yield* byId(storage, row.id)
  return recorded ?? (yield* new ThreadlineError({ reason: "Failed", detail: "the record of evidence cannot be read" }))
})
