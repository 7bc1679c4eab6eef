// As consumer.c, with the C++ header.
#include <wfvae.hpp>

#include <iostream>

int main()
try {
    const wfvae::Model model = wfvae::Model::built_in();
    const wfvae::ModelInfo info = model.info();
    std::cout << "libwfvae " << wfvae::version() << ": " << info.name << ", " << info.latent_channels << " latent channels\n"
              << "runtime " << info.runtime_version << ": " << info.runtime_path << '\n';
    return 0;
} catch (const wfvae::Error &error) {
    std::cerr << "consumer: " << error.what() << '\n';
    return 1;
}
