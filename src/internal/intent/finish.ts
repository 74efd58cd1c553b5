/**
 * What the end of an audited call passes to the SQL function `finish`, for Effect and for other clients.
 *
 * @internal
 */

/** What `finish` is asked to do. */
interface Finish {
  /** The document of an action to record. */
  readonly action?: string | undefined
  readonly requireChanges?: boolean | undefined
  /** Whether it ends a part. */
  readonly part?: boolean
}

/** The document of `finish`. */
export const finishDocument = ({ action, part, requireChanges }: Finish): string =>
  `{${[
    ...(action === undefined ? [] : [`"action":${action}`]),
    ...(requireChanges === true ? [`"requireChanges":true`] : []),
    ...(part === true ? [`"part":true`] : [])
  ].join(",")}}`

/** The document of a `finish` that has nothing to do. */
export const nothingToFinish = finishDocument({})

/**
 * An SQL condition: whether the context is still the one that was set in the running transaction. It is not if the body ended
 * the transaction or ran RESET ALL: what it wrote since has no actor, and an action would have none.
 */
export const isContextKept =
  "pg_catalog.starts_with(pg_catalog.current_setting('threadline.context', true), " +
  "extract(epoch from pg_catalog.transaction_timestamp())::text || ' ')"

/** A document that ends a part. It is for when none is open: then `finish` raises TL004, which every client reports. */
export const unopenedPart = finishDocument({ part: true })

/** The detail of `EndedByBody`. */
export const endedByBody =
  "the body ended the audited transaction, or its context, with a COMMIT, ROLLBACK or RESET ALL of its own"
