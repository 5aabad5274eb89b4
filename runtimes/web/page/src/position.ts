/**
 * Brings the worker's conversation to where a reply is wanted: after so many turns of a conversation. What costs least is
 * taken: it is there already, turns are undone, a kept state is loaded, or else the text is read again.
 */

import type { RemoteChat, RuntimeClient } from "rrwkv-runtime/client";
import type { Info, PromptProgress } from "rrwkv-runtime/protocol";

import type { Conversation, Turn } from "./conversations/conversation.ts";
import type { StoredState } from "./conversations/database.ts";

export interface Following {
  signal: AbortSignal;
  progress: (progress: PromptProgress) => void;
}

/** Gives the kept state after so many turns of a conversation. */
export type FindState = (conversation: string, turns: number) => Promise<StoredState | undefined>;

export class Position {
  private chat: RemoteChat | null = null;
  private of = "";

  constructor(
    readonly client: RuntimeClient,
    private readonly info: Info,
    private readonly find: FindState,
  ) {}

  /** The worker's chat, standing after `turns` turns. Rejects with Cancelled, and as the runtime does. */
  async after(turns: number, conversation: Conversation, following: Following): Promise<RemoteChat> {
    const here = await this.undone(turns, conversation);
    if (here) return here;
    await this.chat?.close();
    this.chat = null;
    const chat = await this.client.chat({ system: conversation.system });
    if (turns > 0 && !(await this.loaded(chat, turns, conversation))) {
      await chat.read(conversation.turns.slice(0, turns).map(asRead), following);
    }
    this.of = key(conversation);
    return (this.chat = chat);
  }

  /** What is there is of another text from now on. */
  forget(): void {
    this.of = "";
  }

  private async undone(turns: number, conversation: Conversation): Promise<RemoteChat | null> {
    const { chat } = this;
    if (!chat || this.of !== key(conversation)) return null;
    const beyond = chat.turns.length - turns;
    if (beyond < 0 || beyond > chat.undoable) return null;
    for (let i = 0; i < beyond; i++) await chat.undo();
    return chat;
  }

  private async loaded(chat: RemoteChat, turns: number, conversation: Conversation): Promise<boolean> {
    const state = await this.find(conversation.id, turns);
    if (state?.modelId !== this.info.model_id || state.system !== conversation.system) return false;
    const listed = conversation.turns.slice(0, turns).map(asRead);
    try {
      await chat.load(state.bytes.slice().buffer, { allow_other_quantization: true, turns: listed });
      return true;
    } catch (error) {
      if ((error as Error).name === "Cancelled") throw error;
      return false; // damaged: the text is read again
    }
  }
}

/** What the state depends on besides the turns: another system text is another conversation. */
function key({ id, system }: Conversation): string {
  return `${id} ${system}`;
}

function asRead({ user, answer }: Turn): { user: string; reply: string } {
  return { user, reply: answer };
}
