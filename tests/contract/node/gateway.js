// Serves as the gateway to a telephone network where everything succeeds.
//
//   CALL_CONTROL_AMQP_URL=amqp://… node gateway.js NAME
//
// `callctl topology apply --gateway NAME` has declared its queue.

const { randomUUID } = require("node:crypto");
const amqp = require("amqplib");

const namespace = process.env.CALL_CONTROL_NAMESPACE;
const prefix = `${namespace ? `${namespace}.` : ""}call_control`;
const [name] = process.argv.slice(2);

// What is said once somebody has answered; of anything else, that it is done.
const CONNECTING = new Set(["originate", "answer", "redirect"]);

async function main() {
  const connection = await amqp.connect(process.env.CALL_CONTROL_AMQP_URL);
  const channel = await connection.createConfirmChannel();

  async function take(message) {
    const { action, request_id, action_id, gateway } = JSON.parse(message.content);
    const network_report = CONNECTING.has(action) ? "answered" : "done";
    // Reports go where commands go: so those of one call are read in their order.
    channel.publish(
      `${prefix}.commands`,
      request_id,
      Buffer.from(JSON.stringify({ network_report, request_id, action_id, gateway: name })),
      {
        messageId: randomUUID(),
        contentType: "application/json",
        persistent: true,
        mandatory: true,
      },
    );
    await channel.waitForConfirms();
    // Not before: what is not acknowledged comes back, to whoever takes over.
    channel.ack(message);
    console.log(JSON.stringify({ action, gateway: gateway ?? null }));
  }

  await channel.consume(`${prefix}.gateways.${name}`, take);
  console.error("serving");
}

main();
