// gRPC by the C++ library: serves shop.Cart, or makes one call of each kind to PORT and then COUNT at once.
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server_builder.h>

using grpc::ByteBuffer;
using grpc::Slice;
using grpc::Status;
using grpc::StatusCode;

constexpr int LARGEST = 1 << 24;

struct Answer final : grpc::ServerGenericBidiReactor {
  explicit Answer(const std::string& method) : name(method.substr(method.rfind('/') + 1)) {
    if (name == "Missing") Finish({StatusCode::NOT_FOUND, "none: \u00fc %"});
    else if (name == "Broken") Finish({StatusCode::INTERNAL, "broken"});
    else if (name == "Gone") Finish({StatusCode::UNIMPLEMENTED, ""});
    else if (name == "Never" || name == "Cancel") waits = true;
    else StartRead(&message);
  }

  void OnReadDone(bool ok) override {
    if (name == "Collect" && ok) {
      std::vector<Slice> parts;
      message.Dump(&parts);
      all.insert(all.end(), parts.begin(), parts.end());
      StartRead(&message);
      return;
    }
    if (name == "Collect") message = ByteBuffer(all.data(), all.size());
    left = name == "List" ? 5 : 1;
    if (ok || name == "Collect") StartWrite(&message);
    else Finish(Status::OK);
  }

  void OnWriteDone(bool ok) override {
    left -= 1;
    if (ok && left > 0) StartWrite(&message);
    else if (ok && (name == "Chat" || name == "Early")) StartRead(&message);
    else Finish(Status::OK);
  }

  void OnCancel() override {
    if (waits) Finish(Status::CANCELLED);
  }

  void OnDone() override { delete this; }

  std::string name;
  ByteBuffer message;
  std::vector<Slice> all;
  int left = 0;
  bool waits = false;
};

struct Cart final : grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new Answer(context->method());
  }
};

int serve() {
  Cart cart;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(LARGEST);
  builder.RegisterCallbackGenericService(&cart);
  auto server = builder.BuildAndStart();
  std::cout << "PORT " << port << std::endl;
  server->Wait();
  return 0;
}

// Makes a call of so many messages; `first` is run when the first answer has come.
void call(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext& context, const std::string& name, int sends,
          size_t size, bool ends = true, const std::function<void()>& first = [] {}) {
  grpc::CompletionQueue queue;
  auto done = [&queue] {
    void* tag;
    bool ok;
    return queue.Next(&tag, &ok) && ok;
  };
  auto stream = grpc::GenericStub(channel).PrepareCall(&context, "/shop.Cart/" + name, &queue);
  stream->StartCall(nullptr);
  bool good = done();
  std::string text(size, 'a');
  Slice slice(text);
  ByteBuffer message(&slice, 1);
  for (int n = 0; good && n < sends; ++n) {
    stream->Write(message, nullptr);
    good = done();
  }
  if (good && ends) {
    stream->WritesDone(nullptr);
    good = done();
  }
  for (bool heard = false; good; heard = true) {
    ByteBuffer answer;
    stream->Read(&answer, nullptr);
    good = done();
    if (good && !heard) first();
  }
  Status status;
  stream->Finish(&status, nullptr);
  done();
}

int ask(const std::string& port, int count) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(LARGEST);
  auto channel = grpc::CreateCustomChannel("127.0.0.1:" + port, grpc::InsecureChannelCredentials(), arguments);
  auto plain = [&channel](const std::string& name, int sends, size_t size) {
    grpc::ClientContext context;
    call(channel, context, name, sends, size);
  };
  plain("Unary", 1, 10);
  plain("Large", 1, 1000000);
  plain("Empty", 1, 0);
  plain("Collect", 5, 3);
  plain("List", 1, 3);
  plain("Chat", 5, 3);
  for (const char* name : {"Missing", "Broken", "Gone"}) plain(name, 1, 0);
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
    call(channel, context, "Never", 1, 0);
  }
  {
    grpc::ClientContext context;
    std::thread timer([&context] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      context.TryCancel();
    });
    call(channel, context, "Cancel", 1, 0);
    timer.join();
  }
  {
    grpc::ClientContext context;
    call(channel, context, "Early", 1, 3, false, [&context] { context.TryCancel(); });
  }
  std::vector<std::thread> threads;
  for (int n = 0; n < count; ++n) threads.emplace_back(plain, "Unary", 1, n);
  for (auto& thread : threads) thread.join();
  return 0;
}

int main(int argc, char** argv) { return argc > 2 ? ask(argv[1], std::stoi(argv[2])) : serve(); }
