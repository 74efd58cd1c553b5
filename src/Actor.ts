/**
 * Who did it. An actor is a plain JSON document, `{ type, id, label?, impersonator? }`, the same in code, in the database and
 * in what readers get.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { idRule, idText, shortTextRule } from "./internal/core/text.js"
import { InvalidRequest } from "./ThreadlineError.js"
import { deepestImpersonator } from "./internal/core/limits.js"

/**
 * The types of actors that have an id, in the order in which people are offered them.
 *
 * @since 0.1.0
 * @category models
 */
export const identifiedTypes = ["user", "admin", "service_account", "job", "system"] as const

/**
 * All types of actors: those that have an id, then `anonymous`.
 *
 * @since 0.1.0
 * @category models
 */
export const types = [...identifiedTypes, "anonymous"] as const

/**
 * The kinds of actor that have an id.
 *
 * @since 0.1.0
 * @category models
 */
export type IdentifiedType = "user" | "admin" | "service_account" | "job" | "system"

/**
 * @since 0.1.0
 * @category models
 */
export type Type = IdentifiedType | "anonymous"

/**
 * An actor that can be found again by type and id.
 *
 * @since 0.1.0
 * @category models
 */
export interface Identified {
  /** What kind of actor it is. */
  readonly type: IdentifiedType
  /** 1 to 256 bytes; with the type it identifies the actor. */
  readonly id: string
  /** What people call the actor, as it was at the time; 1 to 256 bytes, never used to find anything. */
  readonly label?: string
  /** Who really acts, if someone acts as this actor. */
  readonly impersonator?: Actor
}

/**
 * A person who is known not to have signed in. That is not the same as no actor at all.
 *
 * @since 0.1.0
 * @category models
 */
export interface Anonymous {
  /** Always `anonymous`. */
  readonly type: "anonymous"
  /** What people call the visitor; 1 to 256 bytes, never used to find anything. */
  readonly label?: string
  /** Who really acts, if someone acts as this visitor. */
  readonly impersonator?: Actor
}

/**
 * @since 0.1.0
 * @category models
 */
export type Actor = Identified | Anonymous

/**
 * An actor as callers may write it: an id may be an integer, which is kept as its digits.
 *
 * @since 0.1.0
 * @category models
 */
export type Given =
  | {
      /** What kind of actor it is. */
      readonly type: IdentifiedType
      /** 1 to 256 bytes; with the type it identifies the actor. */
      readonly id: Id
      /** What people call the actor, as it is now; 1 to 256 bytes, never used to find anything. */
      readonly label?: string | undefined
      /** Who really acts, if someone acts as this actor. */
      readonly impersonator?: Given | undefined
    }
  | {
      /** A person who is known not to have signed in. */
      readonly type: "anonymous"
      /** What people call the visitor; 1 to 256 bytes, never used to find anything. */
      readonly label?: string | undefined
      /** Who really acts, if someone acts as this visitor. */
      readonly impersonator?: Given | undefined
    }

/**
 * An id as callers may write it. A number must be an integer of less than 2^53, because JavaScript rounds greater ones.
 *
 * @since 0.1.0
 * @category models
 */
export type Id = string | number | bigint

const ShortText = Schema.String.pipe(
  Schema.filter((text) => shortTextRule(text) ?? true, {
    arbitrary: () => (fc) => fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })
  })
)

const optionalParts = {
  label: Schema.optionalWith(ShortText, { exact: true }),
  impersonator: Schema.optionalWith(
    Schema.suspend((): Schema.Schema<Actor> => Actor),
    { exact: true }
  )
}

/**
 * The document of an actor. Ids and labels are 1 to 256 bytes of UTF-8; an anonymous actor has no id.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Actor: Schema.Schema<Actor> = Schema.Union(
  Schema.Struct({
    type: Schema.Literal(...identifiedTypes),
    id: ShortText,
    ...optionalParts
  }),
  Schema.Struct({ type: Schema.Literal("anonymous"), ...optionalParts })
).annotations({ identifier: "threadline.Actor", parseOptions: { onExcessProperty: "error" } })

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What people call the actor. */
  readonly label?: string | undefined
  /** Who really acts. */
  readonly impersonator?: Actor | undefined
}

const parts = (options: Options | undefined): { readonly label?: string; readonly impersonator?: Actor } => ({
  ...(options?.label === undefined ? {} : { label: options.label }),
  ...(options?.impersonator === undefined ? {} : { impersonator: options.impersonator })
})

const identified =
  (type: IdentifiedType) =>
  (id: Id, options?: Options): Identified => ({ type, id: idText(id), ...parts(options) })

/**
 * A person who uses the application. Constructors check nothing: an id that cannot be recorded is an `InvalidRequest` of the
 * call that uses it.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Actor } from "threadline"
 *
 * const support = Actor.admin("7", { label: "Rosa, support" })
 *
 * export const customer = Actor.user("42", { label: "billing desk", impersonator: support })
 * ```
 */
export const user: (id: Id, options?: Options) => Identified = identified("user")

/**
 * A person who operates the application.
 *
 * @since 0.1.0
 * @category constructors
 */
export const admin: (id: Id, options?: Options) => Identified = identified("admin")

/**
 * Another program with credentials of its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serviceAccount: (id: Id, options?: Options) => Identified = identified("service_account")

/**
 * A background job; its id is the name of the job, the run goes into `jobId` of the context.
 *
 * @since 0.1.0
 * @category constructors
 */
export const job: (id: Id, options?: Options) => Identified = identified("job")

/**
 * The application itself.
 *
 * @since 0.1.0
 * @category constructors
 */
export const system = (id: Id = "system", options?: Options): Identified => identified("system")(id, options)

/**
 * A person who has not signed in.
 *
 * @since 0.1.0
 * @category constructors
 */
export const anonymous: Anonymous = { type: "anonymous" }

/**
 * An actor as the record has it: ids as strings. It is meant for what `invalid` finds nothing wrong with.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromGiven = (given: Given): Actor => {
  const rest = parts({
    label: given.label,
    impersonator: given.impersonator === undefined ? undefined : fromGiven(given.impersonator)
  })
  return given.type === "anonymous"
    ? { type: given.type, ...rest }
    : { type: given.type, id: idText(given.id), ...rest }
}

const isType = (type: unknown): boolean => types.some((known) => known === type)

/**
 * What makes an actor unusable, or undefined. Says which rule is broken and never what the value was.
 *
 * @since 0.1.0
 * @category validation
 */
export const invalid = (actor: Given, field: string = "actor"): InvalidRequest | undefined => {
  let path = field
  let current: unknown = actor
  // An impersonator of an impersonator is rare; a chain without end is a cycle.
  for (let depth = 0; depth <= deepestImpersonator; depth++) {
    if (typeof current !== "object" || current === null) {
      return new InvalidRequest({
        field: path,
        rule: 'must be an object with a type and an id, such as { type: "user", id: "42" }'
      })
    }
    if (!("type" in current) || !isType(current.type)) {
      return new InvalidRequest({
        field: `${path}.type`,
        rule: "must be user, admin, service_account, job, system or anonymous"
      })
    }
    const id: unknown = "id" in current ? current.id : undefined
    if (current.type === "anonymous") {
      if (id !== undefined) {
        return new InvalidRequest({ field: `${path}.id`, rule: "an anonymous actor has no id" })
      }
    } else {
      const rule = id === undefined ? "is missing" : idRule(id)
      if (rule !== undefined) {
        return new InvalidRequest({ field: `${path}.id`, rule })
      }
    }
    if ("label" in current && current.label !== undefined) {
      const rule = shortTextRule(current.label)
      if (rule !== undefined) {
        return new InvalidRequest({ field: `${path}.label`, rule })
      }
    }
    if (!("impersonator" in current) || current.impersonator === undefined) {
      return undefined
    }
    current = current.impersonator
    path = `${path}.impersonator`
  }
  return new InvalidRequest({
    field: `${field}.impersonator`,
    rule: `must not nest more than ${deepestImpersonator} deep`
  })
}
