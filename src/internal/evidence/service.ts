/** The service of evidence: each member under a span. */
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { operation } from "../core/telemetry.js"
import type { Page } from "../../Page.js"
import type { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import type { Storage } from "../record/storage.js"
import { checkReference, checkSubject } from "./check.js"
import type { EvidenceRecord, Origin, Standing, Subject } from "./model.js"
import { type Posture, posture } from "./posture.js"
import { type EvidenceFilter, former, latest, list, now, overview } from "./read.js"
import { type Given, record } from "./record.js"

export interface Service {
  /**
   * Records what a host says of a subject. Its detail is checked by the schema of the subject. When it was recorded, by which role and from
   * where is what the server saw. Needs an operator (`threadline grant --operator`).
   */
  readonly record: <S extends Subject>(
    subject: S,
    evidence: Given<S>
  ) => Effect.Effect<EvidenceRecord, InvalidRequest | ThreadlineError>
  /** Like `record`, for values that were not type-checked. */
  readonly recordUnknown: (
    subject: unknown,
    evidence: unknown
  ) => Effect.Effect<EvidenceRecord, InvalidRequest | ThreadlineError>
  /** A page of records, newest first. */
  readonly list: (filter?: EvidenceFilter) => Effect.Effect<Page<EvidenceRecord>, InvalidRequest | ThreadlineError>
  /** The newest record of a subject and reference. */
  readonly latest: (
    subject: Subject,
    reference: string
  ) => Effect.Effect<Option.Option<EvidenceRecord>, InvalidRequest | ThreadlineError>
  /** How the six subjects stand, always six. The verdict is never what a host said. */
  readonly overview: Effect.Effect<ReadonlyArray<Standing>, ThreadlineError>
}

/**
 * What the recorders that derive evidence need besides. It is not part of the service, so that only they mark records as
 * derived.
 */
export interface Recorder {
  readonly recordAs: <S extends Subject>(
    subject: S,
    evidence: Given<S>,
    origin: Origin
  ) => Effect.Effect<EvidenceRecord, InvalidRequest | ThreadlineError>
  /** The clock of the database, as of the instants of the record. */
  readonly now: Effect.Effect<string, ThreadlineError>
  /** Tables whose capture was ended. They are not captured and may not be configured, and their lapses are part of what happened. */
  readonly former: Effect.Effect<ReadonlyArray<string>, ThreadlineError>
  readonly posture: Effect.Effect<Posture | undefined, ThreadlineError>
}

const recorders = new WeakMap<Service, Recorder>()

/** The recorder behind a service; undefined for one that a test made up. */
export const recorderOf = (service: Service): Recorder | undefined => recorders.get(service)

export const make = (storage: Storage): Service => {
  const recordAs: Recorder["recordAs"] = (subject, evidence, origin) =>
    operation("evidence", "record")(record(storage, subject, evidence, origin))
  const service: Service = {
    record: (subject, evidence) => recordAs(subject, evidence, "host"),
    recordUnknown: (subject, evidence) => recordAs(subject as Subject, evidence as Given<Subject>, "host"),
    list: (filter = {}) => operation("evidence", "list")(list(storage, filter)),
    latest: (subject, reference) => operation("evidence", "latest")(latest(storage, subject, reference)),
    overview: operation("evidence", "overview")(overview(storage))
  }
  recorders.set(service, { recordAs, now: now(storage), former: former(storage), posture: posture(storage) })
  return service
}

/** Refuses a wrong name before anything is looked at. */
export const checkNames = (subject: unknown, reference: unknown): Effect.Effect<void, InvalidRequest> =>
  Effect.zipRight(checkSubject(subject), Effect.asVoid(checkReference(reference)))
