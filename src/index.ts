/**
 * @since 0.1.0
 */
export * as Actor from "./Actor.js"

/**
 * @since 0.1.0
 */
export * as Audit from "./Audit.js"

/**
 * @since 0.1.0
 */
export * as AuditContext from "./AuditContext.js"

/**
 * @since 0.1.0
 */
export * as Capture from "./Capture.js"

/**
 * @since 0.1.0
 */
export * as ClientAdapter from "./ClientAdapter.js"

/**
 * @since 0.1.0
 */
export * as Configuration from "./Configuration.js"

/**
 * @since 0.1.0
 */
export * as Continuity from "./Continuity.js"

/**
 * @since 0.1.0
 */
export * as Evidence from "./Evidence.js"

/**
 * @since 0.1.0
 */
export * as Export from "./Export.js"

/**
 * @since 0.1.0
 */
export * as ExportJobs from "./ExportJobs.js"

/**
 * @since 0.1.0
 */
export * as ExportStore from "./ExportStore.js"

/**
 * @since 0.1.0
 */
export * as Feed from "./Feed.js"

/**
 * @since 0.1.0
 */
export * as Grants from "./Grants.js"

/**
 * @since 0.1.0
 */
export * as Health from "./Health.js"

/**
 * @since 0.1.0
 */
export * as Json from "./Json.js"

/**
 * @since 0.1.0
 */
export * as Migrations from "./Migrations.js"

/**
 * @since 0.1.0
 */
export * as Page from "./Page.js"

/**
 * @since 0.1.0
 */
export * as Query from "./Query.js"

/**
 * @since 0.1.0
 */
export * as RequestContext from "./RequestContext.js"

/**
 * @since 0.1.0
 */
export * as Retention from "./Retention.js"

/**
 * @since 0.1.0
 */
export * as SavedViews from "./SavedViews.js"

/**
 * @since 0.1.0
 */
export * as Semantics from "./Semantics.js"

/**
 * @since 0.1.0
 */
export * as StorageSchema from "./StorageSchema.js"

/**
 * @since 0.1.0
 */
export * as Suggestion from "./Suggestion.js"

/**
 * @since 0.1.0
 */
export * as TableName from "./TableName.js"

/**
 * @since 0.1.0
 */
export * as Threadline from "./Threadline.js"

/**
 * @since 0.1.0
 */
export * as ThreadlineError from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { ThreadlineLive } from "./Threadline.js"
