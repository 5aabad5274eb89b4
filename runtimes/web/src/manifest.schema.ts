/** The JSON Schema of a manifest: `manifest.schema.json` of the Python runtime, which a test holds it against. */

import type { Schema } from "./bundle/schema.js";

export const SCHEMA: Schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "manifest.json of an rrwkv bundle",
  description: "The one definition of the contract between the exporter and every runtime.",
  type: "object",
  additionalProperties: false,
  required: [
    "format",
    "format_version",
    "bundle_id",
    "model_id",
    "config",
    "parameters",
    "graphs",
    "states",
    "tokenizer",
    "chat",
    "quantization",
    "provenance",
    "parity",
    "files",
  ],
  properties: {
    format: {
      enum: ["rrwkv-bundle"],
    },
    format_version: {
      type: "integer",
      minimum: 1,
    },
    bundle_id: {
      $ref: "#/$defs/sha256",
      description:
        "sha256 over everything that decides behaviour, by RFC 8785: docs/bundle-format.md says of which fields",
    },
    model_id: {
      $ref: "#/$defs/sha256",
      description: "sha256 of config and original weights; quantizations of one model share it",
    },
    config: {
      type: "object",
      required: ["architecture", "vocab_size", "hidden_size", "num_layers"],
      properties: {
        architecture: {
          type: "string",
          pattern: "^[a-z0-9]{1,32}$",
        },
        vocab_size: {
          type: "integer",
          minimum: 1,
          maximum: 1048576,
        },
        hidden_size: {
          type: "integer",
          minimum: 1,
          maximum: 1048576,
        },
        num_layers: {
          type: "integer",
          minimum: 1,
          maximum: 4096,
        },
        medium: {
          type: ["object", "null"],
        },
      },
    },
    parameters: {
      type: "integer",
      minimum: 1,
    },
    graphs: {
      type: "object",
      description: "by names for people; a runtime finds a graph by `variant` and `runs`",
      additionalProperties: {
        type: "object",
        additionalProperties: false,
        required: ["file", "data", "runs", "chunk", "dtype", "opset"],
        properties: {
          file: {
            $ref: "#/$defs/filename",
          },
          data: {
            type: "array",
            items: {
              $ref: "#/$defs/filename",
            },
            description: "external weight files the graph reads",
          },
          runs: {
            enum: ["any", "one", "none", "fixed"],
            description: "how many tokens it takes; fixed: as fixed_shape says",
          },
          chunk: {
            type: "integer",
            minimum: 1,
            maximum: 65536,
            description: "most tokens worth giving to one run",
          },
          dtype: {
            type: "string",
            description: "of the stored weight matrices",
          },
          opset: {
            type: "integer",
            minimum: 1,
          },
          over: {
            type: "string",
            description: "how it was built to run over its tokens; nothing that a runtime needs",
          },
          reads: {
            type: "array",
            items: {
              type: "string",
            },
            description: "states that are only read, one input name.i for each of the first axis",
          },
          updates: {
            type: "array",
            items: {
              type: "string",
            },
            description: "of a graph that takes no tokens: the states that it takes and gives, whole",
          },
          after_every: {
            type: "integer",
            minimum: 0,
            description: "it runs after a token to a multiple of so many; 0: it takes tokens",
          },
          variant: {
            type: ["string", "null"],
            pattern: "^[a-z][a-z0-9-]*$",
            description: "null: runs by default; else loaded by this name",
          },
          fixed_shape: {
            $ref: "#/$defs/fixed_shape",
          },
          weights: {
            type: "array",
            description: "constants in the first of data that sessions may be given in place of their own",
            items: {
              type: "object",
              additionalProperties: false,
              required: ["name", "dtype", "shape", "offset"],
              properties: {
                name: {
                  type: "string",
                },
                dtype: {
                  enum: ["float16", "float32", "int8", "uint8"],
                },
                shape: {
                  type: "array",
                  maxItems: 8,
                  items: {
                    type: "integer",
                    minimum: 1,
                    maximum: 1073741824,
                  },
                },
                offset: {
                  type: "integer",
                  minimum: 0,
                  description: "bytes",
                },
              },
            },
          },
        },
      },
    },
    states: {
      type: "array",
      maxItems: 64,
      items: {
        type: "object",
        additionalProperties: false,
        required: ["input", "output", "role", "shape", "dtype", "init"],
        properties: {
          input: {
            type: "string",
          },
          output: {
            type: "string",
          },
          role: {
            type: "string",
            description:
              "what it is to the model: position, shift, wkv, medium_sum, medium_weight, medium_bank, medium_key …",
          },
          shape: {
            $ref: "#/$defs/shape",
          },
          dtype: {
            enum: ["float32", "float16", "int64"],
          },
          form: {
            type: ["string", "null"],
            description: "of a role that can be written in several ways, which this is",
          },
          init: {
            type: ["number", "array"],
            description: "a number, or nested lists that broadcast to the shape",
          },
          exponents: {
            type: ["number", "array"],
            description: "the graph carries the model's value / 2^exponents; broadcast to the shape",
          },
        },
      },
    },
    tokenizer: {
      type: ["object", "null"],
      additionalProperties: false,
      required: ["type", "file"],
      properties: {
        type: {
          enum: ["tokenizer.json", "rwkv-world"],
        },
        file: {
          $ref: "#/$defs/filename",
        },
      },
    },
    chat: {
      type: "object",
      additionalProperties: false,
      required: ["user", "assistant", "turn_end", "stop", "bos_token_id", "eos_token_id", "sampling"],
      properties: {
        user: {
          type: "string",
        },
        assistant: {
          type: "string",
        },
        turn_end: {
          type: "string",
        },
        stop: {
          type: "array",
          items: {
            type: "string",
          },
        },
        bos_token_id: {
          type: ["integer", "null"],
          minimum: 0,
        },
        eos_token_id: {
          type: ["integer", "array", "null"],
          minimum: 0,
          items: {
            type: "integer",
            minimum: 0,
          },
        },
        sampling: {
          type: "object",
          additionalProperties: {
            type: "number",
          },
        },
        system: {
          type: "string",
          description: "written before a system text; absent: nothing is",
        },
        thinking: {
          type: ["object", "null"],
          additionalProperties: false,
          required: ["open", "skip", "begin", "end", "kept"],
          description: "how it thinks before it answers; absent: it was not taught to",
          properties: {
            open: {
              type: "string",
              description: "written after assistant for it to think",
            },
            skip: {
              type: "string",
              description: "written after assistant for it not to",
            },
            begin: {
              type: "string",
              pattern: "^[\\s\\S]+$",
              description: "what a thought stands between, not empty",
            },
            end: {
              type: "string",
              pattern: "^[\\s\\S]+$",
            },
            kept: {
              type: "boolean",
              description: "whether later turns see the thought",
            },
          },
        },
      },
    },
    quantization: {
      type: ["object", "null"],
      required: ["scheme"],
      properties: {
        scheme: {
          type: "string",
        },
        calibration: {
          type: ["object", "null"],
          required: ["tokens"],
          properties: {
            tokens: {
              type: "integer",
              minimum: 0,
            },
          },
        },
      },
    },
    provenance: {
      type: "object",
    },
    parity: {
      type: ["object", "null"],
      required: ["rtol", "error", "passed", "tokens", "checks"],
      properties: {
        rtol: {
          type: "number",
        },
        error: {
          type: ["number", "null"],
          description: "the largest of the checks; null if not finite",
        },
        tokens: {
          type: "integer",
          minimum: 1,
        },
        mediums: {
          type: "integer",
          minimum: 0,
          description: "how many segments ended while comparing",
        },
        largest_logit: {
          type: "number",
        },
        largest_key: {
          type: ["number", "null"],
          description: "the largest magnitude seen",
        },
        possible_key: {
          type: ["number", "null"],
          description: "what no token's key exceeds; decides the form of wkv",
        },
        special_tokens: {
          type: "integer",
          minimum: 0,
          description: "how many of the tokens are special ones, each once",
        },
        float32: {
          type: ["object", "null"],
          description: "by how much the reference itself is off in float32, in logits and states",
        },
        tolerance: {
          type: "string",
          description: "why rtol is more than usual",
        },
        notes: {
          type: "array",
          items: {
            type: "string",
          },
          description: "what is not proven",
        },
        provider: {
          type: "string",
        },
        checks: {
          type: "array",
          items: {
            type: "object",
            required: ["name", "error"],
            properties: {
              name: {
                type: "string",
              },
              error: {
                type: ["number", "null"],
              },
            },
          },
        },
      },
    },
    files: {
      type: "array",
      items: {
        type: "object",
        additionalProperties: false,
        required: ["name", "bytes", "sha256"],
        properties: {
          name: {
            $ref: "#/$defs/filename",
          },
          bytes: {
            type: "integer",
            minimum: 0,
          },
          sha256: {
            $ref: "#/$defs/sha256",
          },
        },
      },
    },
  },
  $defs: {
    fixed_shape: {
      type: ["object", "null"],
      additionalProperties: false,
      required: ["tokens", "align", "parts", "derived"],
      description: "exactly so many tokens, input_ids int32 [1, tokens], logits float32 [1, tokens, V]",
      properties: {
        tokens: {
          type: "integer",
          minimum: 1,
          maximum: 65536,
        },
        align: {
          type: "integer",
          minimum: 1,
          maximum: 1048576,
          description: "tokens seen before a run are a multiple of it",
        },
        parts: {
          type: "array",
          items: {
            type: "object",
            additionalProperties: false,
            required: ["input", "output", "state", "offset", "shape"],
            properties: {
              input: {
                type: "string",
              },
              output: {
                type: "string",
              },
              state: {
                type: "string",
              },
              offset: {
                type: "integer",
                minimum: 0,
                maximum: 4294967296,
                description: "in elements",
              },
              shape: {
                $ref: "#/$defs/shape",
              },
            },
          },
        },
        derived: {
          type: "array",
          items: {
            type: "object",
            additionalProperties: false,
            required: ["input", "shape", "since", "period", "otherwise", "then"],
            description: "float32 inputs: `then` where (tokens seen, modulo period unless that is 0) >= since",
            properties: {
              input: {
                type: "string",
              },
              shape: {
                $ref: "#/$defs/shape",
              },
              since: {
                type: ["number", "array"],
                description: "a number, or nested lists that broadcast to the shape",
              },
              period: {
                type: "integer",
                minimum: 0,
                maximum: 1048576,
              },
              otherwise: {
                type: "number",
              },
              then: {
                type: "number",
              },
            },
          },
        },
      },
    },
    shape: {
      type: "array",
      maxItems: 8,
      items: {
        type: "integer",
        minimum: 1,
        maximum: 1048576,
      },
    },
    sha256: {
      type: "string",
      pattern: "^[0-9a-f]{64}$",
    },
    filename: {
      type: "string",
      pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
      maxLength: 255,
    },
  },
};
